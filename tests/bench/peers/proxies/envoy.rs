use std::process::Command;

use serde_json::{Value, json};

use super::{SERVER_NAME, Setup};
use crate::cases::Door;

/// More than any case needs: the default is 1,024.
const CIRCUIT: u32 = 100_000;

pub fn configure(command: &mut Command, setup: &Setup) {
    let mut chain = json!({ "filters": [{
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": manager(setup.has_http2()),
    }] });
    if setup.has_tls() {
        chain["transport_socket"] = transport(
            "DownstreamTlsContext",
            json!({
                "common_tls_context": {
                    "tls_params": tls_params(),
                    "alpn_protocols": if setup.has_http2() { json!(["h2"]) } else { json!([]) },
                    "tls_certificates": [{
                        "certificate_chain": { "filename": setup.issued.cert },
                        "private_key": { "filename": setup.issued.key },
                    }],
                },
            }),
        );
    }
    let mut cluster = json!({
        "name": "bench",
        "type": "STATIC",
        "connect_timeout": "10s",
        "circuit_breakers": { "thresholds": [
            { "max_connections": CIRCUIT, "max_pending_requests": CIRCUIT, "max_requests": CIRCUIT },
        ] },
        "load_assignment": { "cluster_name": "bench", "endpoints": [{ "lb_endpoints": [
            { "endpoint": { "address": address(setup.backend) } },
        ] }] },
    });
    if setup.door == Door::TlsBoth {
        cluster["transport_socket"] = transport(
            "UpstreamTlsContext",
            json!({
                "sni": SERVER_NAME,
                "max_session_keys": 0,
                "common_tls_context": {
                    "tls_params": tls_params(),
                    "validation_context": { "trusted_ca": { "filename": setup.authority } },
                },
            }),
        );
    }
    let listener = json!({ "name": "bench", "address": address(setup.address), "filter_chains": [chain] });
    let config = json!({ "static_resources": { "listeners": [listener], "clusters": [cluster] } });
    let file = setup.write("envoy.json", &config.to_string());
    command.args(["--concurrency", "1", "--disable-hot-restart", "--log-level", "error", "--config-path"]);
    command.arg(file);
}

fn manager(http2: bool) -> Value {
    json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "bench",
        "codec_type": if http2 { "HTTP2" } else { "HTTP1" },
        "http2_protocol_options": { "allow_connect": true },
        "upgrade_configs": [{ "upgrade_type": "websocket" }],
        "stream_idle_timeout": "0s",
        // Else it waits for a second whenever a backend ends a connection.
        "delayed_close_timeout": "0s",
        "route_config": { "virtual_hosts": [{
            "name": "bench",
            "domains": ["*"],
            "routes": [{
                "match": { "prefix": "/" },
                "route": { "cluster": "bench", "timeout": "0s" },
            }],
        }] },
        "http_filters": [{
            "name": "envoy.filters.http.router",
            "typed_config": { "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router" },
        }],
    })
}

fn transport(context: &str, mut config: Value) -> Value {
    config["@type"] =
        format!("type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.{context}").into();
    json!({ "name": "envoy.transport_sockets.tls", "typed_config": config })
}

fn tls_params() -> Value {
    json!({
        "tls_minimum_protocol_version": "TLSv1_3",
        "tls_maximum_protocol_version": "TLSv1_3",
        "ecdh_curves": ["X25519", "X25519MLKEM768"],
    })
}

fn address(address: std::net::SocketAddr) -> Value {
    json!({ "socket_address": { "address": address.ip().to_string(), "port_value": address.port() } })
}
