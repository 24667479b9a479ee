use std::process::Command;

use super::{SERVER_NAME, Setup};
use crate::cases::Door;

pub fn configure(command: &mut Command, setup: &Setup) {
    let Setup { address, backend, .. } = setup;
    let ssl = match setup.has_tls() {
        true => {
            // It wants the chain and the key in one file, or the key beside it under this name.
            let cert = std::fs::read_to_string(&setup.issued.cert).expect("a certificate");
            let key = std::fs::read_to_string(&setup.issued.key).expect("a key");
            let file = setup.write("bench.pem", &(cert + &key));
            let more = if setup.has_http2() { " alpn h2" } else { "" };
            format!(" ssl crt {} ssl-min-ver TLSv1.3{more}", file.display())
        }
        false => String::new(),
    };
    let backend_ssl = match setup.door {
        Door::TlsBoth => format!(
            " ssl verify required ca-file {} sni str({SERVER_NAME}) ssl-min-ver TLSv1.3 no-ssl-reuse",
            setup.authority.display()
        ),
        _ => String::new(),
    };
    let file = setup.write(
        "haproxy.cfg",
        &format!(
            "global\n  nbthread 1\n  maxconn 9600\n\
             defaults\n  mode http\n  timeout connect 10s\n  timeout client 1h\n  timeout server 1h\n  \
             timeout tunnel 1h\n  maxconn 9600\n\
             frontend bench\n  bind {address}{ssl} backlog 4096\n  default_backend bench\n\
             backend bench\n  server one {backend}{backend_ssl}\n"
        ),
    );
    command.arg("-db").arg("-f").arg(file);
}
