//! IPv4 and IPv6, side by side; an IPv4-mapped address is IPv4, wherever it comes from.

use longhaul::proto::proxy_header::Version;
use tokio::net::TcpListener;

use super::{GET, OK, config, proxied, told};
use crate::kit::{Backend, Client, Proxy, plain};

/// Where an address may come from, and what it is then to backends and in records.
#[tokio::test]
async fn mapped_addresses_are_ipv4_through_the_front_door() {
    let (backend, mut calls) = Backend::by_hand().await;
    // Networks are written as mapped ones, too.
    let listener = "trusted_networks = [\"::ffff:127.0.0.0/104\", \"::ffff:10.0.0.1\"]\n\
                    proxy_protocol = { trusted_networks = [\"::ffff:127.0.0.1\"] }";
    let mapped = format!("[::ffff:127.0.0.1]:{}", backend.address.port());
    let text = config(listener, &mapped, "").replace("\"127.0.0.1:0\"", "\"[::ffff:127.0.0.1]:0\"");
    let proxy = Proxy::start(&text).await;
    let address = proxy.address("plain");
    assert!(address.is_ipv4(), "{address}");
    let unknown = b"PROXY UNKNOWN\r\n".to_vec();
    let own = "127.0.0.1";
    for (index, (header, fields, client, forwarded_for)) in [
        (unknown.clone(), "", own, own.to_owned()),
        (
            unknown.clone(),
            "X-Forwarded-For: ::ffff:203.0.113.7\r\n",
            "203.0.113.7",
            format!("::ffff:203.0.113.7, {own}"),
        ),
        (
            unknown.clone(),
            "X-Forwarded-For: 203.0.113.7, ::ffff:10.0.0.1\r\n",
            "203.0.113.7",
            format!("203.0.113.7, ::ffff:10.0.0.1, {own}"),
        ),
        (
            unknown.clone(),
            "X-Forwarded-For: [::ffff:203.0.113.7]:80\r\n",
            "203.0.113.7",
            format!("[::ffff:203.0.113.7]:80, {own}"),
        ),
        (b"PROXY TCP6 ::ffff:203.0.113.7 ::1 1 2\r\n".to_vec(), "", "203.0.113.7", "203.0.113.7".into()),
        (proxied("[::ffff:203.0.113.7]:1", Version::V2), "", "203.0.113.7", "203.0.113.7".into()),
        (
            proxied("[::ffff:10.0.0.1]:1", Version::V2),
            "X-Forwarded-For: 203.0.113.7\r\n",
            "203.0.113.7",
            "203.0.113.7, 10.0.0.1".into(),
        ),
        (proxied("[2001:db8::7]:1", Version::V2), "", "2001:db8::7", "2001:db8::7".into()),
        (unknown, "X-Forwarded-For: 2001:DB8:0::7\r\n", "2001:db8::7", format!("2001:DB8:0::7, {own}")),
    ]
    .into_iter()
    .enumerate()
    {
        let path = format!("/{index}");
        let request = GET.replace("/page", &path).replace("Connection", &format!("{fields}Connection"));
        let mut socket = Client::connect(address).await;
        socket.send([&header[..], request.as_bytes()].concat()).await;
        let mut call = calls.next().await;
        assert_eq!(call.head.get("x-forwarded-for"), Some(&*forwarded_for), "{index}");
        call.send(OK).await;
        let record = proxy.wait_for("a record", |line| line["path"] == *path).await;
        assert_eq!(
            (&record["client"], &record["backend"]),
            (&client.into(), &backend.address.to_string().into())
        );
    }
}

/// `[::]` beside `0.0.0.0` on one port; each serves its own family, and a backend may be of either.
#[tokio::test]
async fn both_families_are_served_on_one_port() {
    let listener = TcpListener::bind("[::1]:0").await.expect("a free port");
    let backend = listener.local_addr().expect("a bound socket");
    let (handle, mut calls) = crate::kit::Calls::handler();
    let _backend = Backend::on(listener, move |mut stream| {
        let handle = handle.clone();
        async move {
            if let Some(head) = crate::kit::Head::read(&mut stream).await {
                handle(crate::kit::Call { stream, head }).await;
            }
        }
    });
    // A port that is free for both: `[::]` here takes both families.
    let port = {
        let both = TcpListener::bind("[::]:0").await.expect("a free port");
        both.local_addr().expect("a bound socket").port()
    };
    let text = plain(&[backend]).replace("\"127.0.0.1:0\"", &format!("\"0.0.0.0:{port}\""))
        + &format!("[[listeners]]\nname = \"six\"\naddress = \"[::]:{port}\"\n");
    let proxy =
        Proxy::start(&text.replace("[pools.all]", "[pools.all]\n# The backend has IPv6 alone.")).await;
    for (address, client, element) in
        [("127.0.0.1", "127.0.0.1", "for=127.0.0.1"), ("[::1]", "::1", "for=\"[::1]\"")]
    {
        let mut socket = Client::connect(format!("{address}:{port}").parse().expect("an address")).await;
        socket.send(GET).await;
        let mut call = calls.next().await;
        let element = format!("{element};host=example.com;proto=http");
        assert_eq!(told(&call.head), (Some(client), Some(&*element)));
        call.send(OK).await;
        assert_eq!(socket.head().await.status(), 200);
        let record = proxy.wait_for("a record", |line| line["client"] == client).await;
        assert_eq!(record["backend"], backend.to_string());
    }
}
