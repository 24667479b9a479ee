use std::process::Command;

use super::{SERVER_NAME, Setup};
use crate::cases::{Door, Variant};

/// As a user would run it: metrics, live table and frame watching are on.
pub fn configure(command: &mut Command, setup: &Setup) {
    let Setup { address, backend, issued, .. } = setup;
    let workers = if setup.variant == Variant::TwoWorkers { 2 } else { 1 };
    let access = setup.variant == Variant::AccessLog;
    let inspect = if setup.variant == Variant::Blind { "off" } else { "observe" };
    let tls = if setup.has_tls() {
        let more = if setup.has_http2() { ", extended_connect = true" } else { "" };
        format!("tls = {{ certificates = [{}]{more} }}\n", issued.entry())
    } else {
        String::new()
    };
    let backend_tls = match setup.door {
        Door::TlsBoth => {
            format!("tls = {{ ca = \"{}\", server_name = \"{SERVER_NAME}\" }}\n", setup.authority.display())
        }
        _ => String::new(),
    };
    let file = setup.write(
        "longhaul.toml",
        &format!(
            "[server]\nworkers = {workers}\n\
             [log]\nformat = \"json\"\naccess = {access}\n\
             [metrics]\naddress = \"127.0.0.1:0\"\n\
             [admin]\naddress = \"127.0.0.1:0\"\n\
             [[listeners]]\nname = \"bench\"\naddress = \"{address}\"\n{tls}\
             [[routes]]\nname = \"bench\"\npool = \"bench\"\ninspect = \"{inspect}\"\n\
             [pools.bench]\nbackends = [\"{backend}\"]\n{backend_tls}"
        ),
    );
    command.arg("run").arg("--config").arg(file);
}
