use proptest::prelude::*;

use ipnet::IpNet;

use super::*;
use crate::proto::peer::Connection;

fn headers(lines: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        headers.append(name, HeaderValue::from_str(value).unwrap());
    }
    headers
}

fn at(peer: &str) -> Peer {
    match peer {
        "unix" => Peer::Unix,
        ip => Peer::new(SocketAddr::new(ip.parse().unwrap(), 4711)),
    }
}

fn client(lines: &[(&str, &str)], peer: &str) -> String {
    let trusted: Vec<IpNet> =
        ["10.0.0.0/8", "fd00::/8"].into_iter().map(|net| net.parse().unwrap()).collect();
    let connection = Connection { socket: at(peer), proxied: None, destination: None };
    connection.client(&headers(lines), &trusted).to_string()
}

fn written(lines: &[(&str, &str)], peer: &str, host: &'static str, trusted: bool) -> Vec<String> {
    let mut headers = headers(lines);
    let host = HeaderValue::from_static(host);
    let sender = Sender { peer: at(peer), secure: true, host: &host, trusted };
    write(&mut headers, &sender);
    let line = |(name, value): (&HeaderName, &HeaderValue)| {
        format!("{name}: {}", String::from_utf8_lossy(value.as_bytes()))
    };
    let mut lines: Vec<_> = headers.iter().map(line).collect();
    lines.sort();
    lines
}

#[test]
fn an_untrusted_peer_is_the_client() {
    let spoof = [("x-forwarded-for", "6.6.6.6"), ("forwarded", "for=6.6.6.6")];
    assert_eq!(client(&spoof, "203.0.113.7"), "203.0.113.7");
    assert_eq!(client(&spoof, "::ffff:203.0.113.7"), "203.0.113.7");
}

#[test]
fn x_forwarded_for_is_believed_as_far_as_trust_reaches() {
    let table: [(&[&str], &str); 15] = [
        (&["203.0.113.7"], "203.0.113.7"),
        (&["6.6.6.6, 203.0.113.7"], "203.0.113.7"),
        (&["6.6.6.6, 203.0.113.7, 10.0.0.2"], "203.0.113.7"),
        (&["6.6.6.6", "203.0.113.7, 10.0.0.2"], "203.0.113.7"),
        (&["203.0.113.7", "10.0.0.2", "10.0.0.3"], "203.0.113.7"),
        (&["203.0.113.7:4711"], "203.0.113.7"),
        (&["2001:db8::1"], "2001:db8::1"),
        (&["[2001:db8::1]"], "2001:db8::1"),
        (&["[2001:db8::1]:4711, [fd00::1]:80"], "2001:db8::1"),
        (&["::ffff:203.0.113.7"], "203.0.113.7"),
        (&["203.0.113.7, unknown"], "10.0.0.1"),
        (&["203.0.113.7, unknown, 10.0.0.2"], "10.0.0.2"),
        (&["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        (&[""], "10.0.0.1"),
        (&["203.0.113.7,, 10.0.0.2,"], "203.0.113.7"),
    ];
    for (lines, expected) in table {
        let lines: Vec<_> = lines.iter().map(|line| ("x-forwarded-for", *line)).collect();
        assert_eq!(client(&lines, "10.0.0.1"), expected, "{lines:?}");
    }
    assert_eq!(client(&[], "10.0.0.1"), "10.0.0.1");
}

#[test]
fn forwarded_is_read_where_x_forwarded_for_is_absent() {
    let table = [
        ("for=203.0.113.7", "203.0.113.7"),
        ("For=\"203.0.113.7:4711\";proto=https", "203.0.113.7"),
        ("host=a;for=\"[2001:db8::1]:80\"", "2001:db8::1"),
        ("for=6.6.6.6, for=203.0.113.7;by=\"a,b;c\", for=10.0.0.2", "203.0.113.7"),
        ("for=203.0.113.7;x=\"a\\\",b\", for=10.0.0.2", "203.0.113.7"),
        ("x=\"open, for=203.0.113.7, for=10.0.0.2", "203.0.113.7"),
        ("for=203.0.113.7, for=unknown, for=10.0.0.2", "10.0.0.2"),
        ("for=_hidden", "10.0.0.1"),
        ("proto=https", "10.0.0.1"),
        ("for=203.0.113.7;for=6.6.6.6", "10.0.0.1"),
        ("203.0.113.7", "10.0.0.1"),
    ];
    for (value, expected) in table {
        assert_eq!(client(&[("forwarded", value)], "10.0.0.1"), expected, "{value}");
    }
    let both = [("forwarded", "for=1.1.1.1"), ("x-forwarded-for", "2.2.2.2")];
    assert_eq!(client(&both, "10.0.0.1"), "2.2.2.2");
}

#[test]
fn an_untrusted_sender_says_nothing_of_itself() {
    let spoof = [
        ("x-forwarded-for", "6.6.6.6"),
        ("x-forwarded-for", "6.6.6.7"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "evil"),
        ("x-forwarded-port", "1"),
        ("x-forwarded-server", "evil"),
        ("x-forwarded-user", "admin"),
        ("x-real-ip", "6.6.6.6"),
        ("forwarded", "for=6.6.6.6"),
        ("x_forwarded_for", "6.6.6.6"),
        ("x-forwarded_proto", "http"),
        ("x_real_ip", "6.6.6.6"),
        ("x_other", "kept"),
    ];
    let expected = [
        "forwarded: for=203.0.113.7;host=a.example;proto=https",
        "x-forwarded-for: 203.0.113.7",
        "x-forwarded-host: a.example",
        "x-forwarded-proto: https",
        "x_other: kept",
    ];
    assert_eq!(written(&spoof, "203.0.113.7", "a.example", false), expected);
}

#[test]
fn what_is_no_token_is_quoted() {
    let lines = written(&[], "2001:db8::1", "a.example:8443", false);
    assert_eq!(lines[0], "forwarded: for=\"[2001:db8::1]\";host=\"a.example:8443\";proto=https");
    assert_eq!(lines[1], "x-forwarded-for: 2001:db8::1");
    let lines = written(&[], "::ffff:1.2.3.4", "a\"\\", false);
    assert_eq!(lines[0], "forwarded: for=1.2.3.4;host=\"a\\\"\\\\\";proto=https");
}

#[test]
fn a_trusted_sender_is_appended() {
    let lines = [
        ("x-forwarded-for", "203.0.113.7"),
        ("x-forwarded-for", "10.0.0.2"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-port", "8080"),
        ("x_forwarded_for", "6.6.6.6"),
        ("forwarded", "for=203.0.113.7;x=\"a, b\""),
    ];
    let expected = [
        "forwarded: for=203.0.113.7;x=\"a, b\", for=10.0.0.1;host=a;proto=https",
        "x-forwarded-for: 203.0.113.7, 10.0.0.2, 10.0.0.1",
        "x-forwarded-host: a",
        "x-forwarded-port: 8080",
        "x-forwarded-proto: http",
    ];
    assert_eq!(written(&lines, "10.0.0.1", "a", true), expected);
}

#[test]
fn a_second_chain_is_not_begun_beside_another() {
    let names = |lines: &[(&str, &str)]| -> Vec<String> {
        let lines = written(lines, "10.0.0.1", "a", true);
        lines.into_iter().filter(|line| line.contains("10.0.0.1")).collect()
    };
    assert_eq!(names(&[("x-forwarded-for", "1.1.1.1")]), ["x-forwarded-for: 1.1.1.1, 10.0.0.1"]);
    let expected = ["forwarded: for=1.1.1.1, for=10.0.0.1;host=a;proto=https"];
    assert_eq!(names(&[("forwarded", "for=1.1.1.1")]), expected);
    assert_eq!(names(&[]).len(), 2);
}

#[test]
fn a_chain_that_is_too_long_loses_its_oldest_members() {
    let long = format!("6.6.6.6, {}, 203.0.113.7", "x".repeat(CHAIN_BYTES_MAX));
    let lines = written(&[("x-forwarded-for", &long)], "10.0.0.1", "a", true);
    assert_eq!(lines[0], "x-forwarded-for: 203.0.113.7, 10.0.0.1");
    let many = vec!["1.1.1.1"; 2000].join(", ");
    let lines = written(&[("x-forwarded-for", &many)], "10.0.0.1", "a", true);
    let value = lines[0].strip_prefix("x-forwarded-for: ").unwrap();
    assert!((CHAIN_BYTES_MAX - 16..=CHAIN_BYTES_MAX).contains(&value.len()), "{}", value.len());
    assert!(value.ends_with(", 10.0.0.1"));
}

proptest! {
    #[test]
    fn nothing_a_client_writes_changes_what_a_trusted_proxy_saw(
        name in prop::sample::select(vec!["x-forwarded-for", "forwarded"]),
        junk in "[a-z0-9=.,;:\"\\\\\\[\\] ]{0,40}",
    ) {
        let seen = if name == "forwarded" { "for=203.0.113.7" } else { "203.0.113.7" };
        let value = format!("{junk}, {seen}");
        prop_assert_eq!(client(&[(name, &value)], "10.0.0.1"), "203.0.113.7");
        prop_assert_eq!(client(&[(name, &junk), (name, seen)], "10.0.0.1"), "203.0.113.7");
    }

    #[test]
    fn splitting_loses_nothing(bytes in prop::collection::vec(any::<u8>(), 0..60), quoted: bool) {
        let mut pieces: Vec<_> = rsplit(&bytes, b',', quoted).collect();
        pieces.reverse();
        prop_assert_eq!(pieces.join(&b","[..]), bytes);
    }
}
