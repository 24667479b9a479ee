//! What a change of the configuration leaves of what is kept.

use crate::kit::{Backend, Call, Calls, Client, Pki, Proxy, Secure, Tls, pool_tls};

use super::{GET, KEPT, OK, config, idle, kept, request};

#[tokio::test]
async fn a_change_that_does_not_concern_it_leaves_a_connection() {
    let (proxy, backend, _calls, mut client, mut call) = kept("").await;
    let (other, _others) = Backend::by_hand().await;
    let base = config(&backend, "");
    let address = backend.address.to_string();
    for changed in [
        config(&backend, "connect_timeout = \"9s\""),
        base.replace(
            &format!("\"{address}\""),
            &format!("{{ address = \"{address}\", weight = 1000 }}, \"{}\"", other.address),
        ),
        base.replace("name = \"all\"\n", "name = \"all\"\nidle_timeout = \"7m\"\n"),
    ] {
        proxy.change_to(&changed).await;
        client.send(request("GET", "/next")).await;
        assert_eq!(call.next().await.target(), "/next");
        call.send(OK).await;
        assert_eq!(client.answer().await.1, "ok");
        proxy.wait_metric(&idle(&backend), 1.0).await;
    }
}

#[tokio::test]
async fn a_change_that_concerns_it_ends_a_connection() {
    let other = Backend::answers(OK).await;
    for change in [
        |config: &str, _: &Backend, _: &Backend| config.replace(KEPT, "keepalive = \"off\""),
        |config: &str, _: &Backend, _: &Backend| config.replace(KEPT, "proxy_protocol = \"v1\""),
        |config: &str, _: &Backend, _: &Backend| config.to_string() + "tls = { verify = \"none\" }\n",
        |config: &str, _: &Backend, _: &Backend| config.to_string() + "[limits]\nhead_fields_max = 50\n",
        |config: &str, _: &Backend, _: &Backend| config.to_string() + "[tcp]\nuser_timeout = \"off\"\n",
        |config: &str, old: &Backend, new: &Backend| {
            config.replace(&old.address.to_string(), &new.address.to_string())
        },
        |config: &str, _: &Backend, _: &Backend| {
            config.replace("\"all\"", "\"other\"").replace("pools.all", "pools.other")
        },
    ] {
        let (proxy, backend, mut calls, _client, call) = kept("").await;
        let base = config(&backend, "");
        // Another one is in use while the configuration changes.
        let mut busy = proxy.connect("plain").await;
        let mut call = call;
        busy.send(GET).await;
        call.next().await;
        let mut client = proxy.connect("plain").await;
        client.send(GET).await;
        let mut idle_one = calls.next().await;
        idle_one.send(OK).await;
        client.answer().await;
        let changed = change(&base, &backend, &other);
        proxy.change_to(&changed).await;
        assert_eq!(idle_one.rest().await, b"", "{changed}");
        call.send(OK).await;
        assert_eq!(busy.answer().await.1, "ok");
        assert_eq!(call.rest().await, b"", "{changed}");
    }
}

/// Has a request answered on a connection of before, or a new one.
async fn ask(client: &mut Client, calls: &mut Calls<Secure>, before: Option<Call<Secure>>) -> Call<Secure> {
    client.send(GET).await;
    let mut call = match before {
        Some(mut call) => {
            call.next().await;
            call
        }
        None => calls.next().await,
    };
    call.send(OK).await;
    assert_eq!(client.answer().await.1, "ok");
    call
}

#[tokio::test]
async fn other_tls_never_meets_a_connection_of_before() {
    let pki = Pki::new();
    let (backend, mut calls) = Backend::tls_by_hand(&Tls::new(&pki.issue(&["127.0.0.1"]))).await;
    let with = |keys: &str| config(&backend, &pool_tls(&pki, keys));
    let proxy = Proxy::start(&with("")).await;
    let mut client = proxy.connect("plain").await;
    let call = ask(&mut client, &mut calls, None).await;
    // The same TLS, another route: the same connection.
    proxy.change_to(&with("").replace("name = \"all\"\n", "name = \"all\"\nidle_timeout = \"7m\"\n")).await;
    let call = ask(&mut client, &mut calls, Some(call)).await;
    proxy.change_to(&with("min_version = \"1.3\"")).await;
    assert_eq!(call.rest().await, b"");
    let call = ask(&mut client, &mut calls, None).await;
    proxy.change_to(&with("")).await;
    assert_eq!(call.rest().await, b"");
    ask(&mut client, &mut calls, None).await;
    assert_eq!(backend.called(), 3);
}
