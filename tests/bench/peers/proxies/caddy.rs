use std::process::Command;

use super::{SERVER_NAME, Setup};
use crate::cases::Door;

pub fn configure(command: &mut Command, setup: &Setup) {
    let Setup { address, .. } = setup;
    let (scheme, tls) = match setup.has_tls() {
        true => (
            "https",
            format!(
                "tls {} {} {{\nprotocols tls1.3\n}}",
                setup.issued.cert.display(),
                setup.issued.key.display()
            ),
        ),
        false => ("http", String::new()),
    };
    let transport = match setup.door {
        Door::TlsBoth => format!(
            "transport http {{\ntls_trust_pool file {}\ntls_server_name {SERVER_NAME}\n}}",
            setup.authority.display()
        ),
        _ => String::new(),
    };
    let file = setup.write(
        "Caddyfile",
        &format!(
            "{{\nadmin off\nauto_https off\npersist_config off\nservers {{\nprotocols {protocols}\n}}\n}}\n\
             {scheme}://{SERVER_NAME}:{port} {{\nbind {ip}\n{tls}\n\
             reverse_proxy {backend} {{\n{transport}\n}}\n}}\n",
            protocols = if setup.has_http2() { "h1 h2" } else { "h1" },
            port = address.port(),
            ip = address.ip(),
            backend = setup.backend_url(),
        ),
    );
    command.args(["run", "--adapter", "caddyfile", "--config"]).arg(file);
    command.env("GOMAXPROCS", "1").env("HOME", setup.folder).env("XDG_DATA_HOME", setup.folder);
    if setup.has_http2() {
        // Its HTTP/2 offers no extended CONNECT otherwise.
        command.env("GODEBUG", "http2xconnect=1");
    }
}
