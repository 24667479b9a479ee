use proptest::prelude::*;

use super::*;

fn between(source: &str, destination: &str) -> Header {
    Header::Proxied { source: source.parse().unwrap(), destination: destination.parse().unwrap() }
}

/// A header of version 2 with this command, family, and rest.
fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[command, family], &length, rest].concat()
}

/// Addresses and ports of 192.0.2.1:1 to 192.0.2.2:258.
const FOUR: [u8; 12] = [192, 0, 2, 1, 192, 0, 2, 2, 0, 1, 1, 2];

#[test]
fn headers_are_read() {
    let mapped = [&[0; 10][..], &[0xff, 0xff, 192, 0, 2, 1], &[0; 15], &[1], &[0, 1, 1, 2]].concat();
    let with_tlvs = [&FOUR[..], b"\x04\xff\xffa TLV that claims to reach into what follows"].concat();
    let table = [
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 258\r\n".to_vec(), between("192.0.2.1:1", "192.0.2.2:258")),
        (
            b"PROXY TCP4 0.0.0.0 255.255.255.255 0 65535\r\n".to_vec(),
            between("0.0.0.0:0", "255.255.255.255:65535"),
        ),
        (b"PROXY TCP6 2001:db8::1 ::1 4711 443\r\n".to_vec(), between("[2001:db8::1]:4711", "[::1]:443")),
        (b"PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n".to_vec(), between("192.0.2.1:1", "[::1]:2")),
        (b"PROXY UNKNOWN\r\n".to_vec(), Header::Unknown),
        (b"PROXY UNKNOWN \xff what ever\r\n".to_vec(), Header::Unknown),
        (binary(0x21, 0x11, &FOUR), between("192.0.2.1:1", "192.0.2.2:258")),
        (binary(0x21, 0x11, &with_tlvs), between("192.0.2.1:1", "192.0.2.2:258")),
        (binary(0x21, 0x21, &mapped), between("192.0.2.1:1", "[::1]:258")),
        (binary(0x21, 0x31, &[7; 216]), Header::Unknown),
        (binary(0x21, 0x00, b""), Header::Unknown),
        (binary(0x21, 0x00, b"\x04\x00\x00"), Header::Unknown),
        (binary(0x20, 0x00, b""), Header::Local),
        // The sender of a LOCAL one may have left the family of another connection in it.
        (binary(0x20, 0x11, b""), Header::Local),
        (binary(0x20, 0xff, b"abc"), Header::Local),
        (binary(0x20, 0x00, &[0; HEADER_BYTES_MAX - FIXED_BYTES]), Header::Local),
    ];
    for (bytes, header) in table {
        let shown = String::from_utf8_lossy(&bytes).into_owned();
        assert_eq!(read(&bytes), Ok(Some((header, bytes.len()))), "{shown}");
        let followed = [&bytes[..], b"GET / HTTP/1.1\r\n\r\n"].concat();
        assert_eq!(read(&followed), Ok(Some((header, bytes.len()))), "{shown}");
        for end in 0..bytes.len() {
            assert_eq!(read(&bytes[..end]), Ok(None), "{end} of {shown}");
        }
    }
}

#[test]
fn what_is_no_header_is_refused() {
    let long = |length: usize| [b"PROXY UNKNOWN ", &vec![b'x'; length - 16][..], b"\r\n"].concat();
    assert_eq!(read(&long(LINE_BYTES_MAX)).unwrap().unwrap().1, LINE_BYTES_MAX);
    for bytes in [
        &b"GET / HTTP/1.1\r\n"[..],
        b"\x16\x03\x01",
        b"PRI * HTTP/2.0",
        b"PROXYTCP4",
        b"\r\n\r\n\0\r\nQUIT\r",
        b"proxy ",
        b"\n",
    ] {
        assert_eq!(read(bytes), Err(ProxyHeaderError::Missing), "{bytes:?}");
    }
    let table = [
        b"PROXY \r\n".to_vec(),
        b"PROXY TCP4\r\n".to_vec(),
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n".to_vec(),
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n".to_vec(),
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2 \r\n".to_vec(),
        b"PROXY TCP4  192.0.2.1 192.0.2.2 1 2\r\n".to_vec(),
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n".to_vec(),
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\r\n".to_vec(),
        b"PROXY TCP4 192.0.2.1 192.0.2.2 +1 2\r\n".to_vec(),
        b"PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n".to_vec(),
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n".to_vec(),
        b"PROXY TCP4 192.0.2.1 192.0.2.2 -1 2\r\n".to_vec(),
        b"PROXY TCP4 192.0.2.01 192.0.2.2 1 2\r\n".to_vec(),
        b"PROXY TCP4 192.0.2 192.0.2.2 1 2\r\n".to_vec(),
        b"PROXY TCP4 ::1 ::1 1 2\r\n".to_vec(),
        b"PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n".to_vec(),
        b"PROXY TCP6 [::1] ::1 1 2\r\n".to_vec(),
        b"PROXY TCP6 fe80::1%1 ::1 1 2\r\n".to_vec(),
        b"PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n".to_vec(),
        b"PROXY tcp4 192.0.2.1 192.0.2.2 1 2\r\n".to_vec(),
        b"PROXY UNKNOWNS\r\n".to_vec(),
        b"PROXY UNKNOWN \n".to_vec(),
        long(LINE_BYTES_MAX + 1),
        [b"PROXY ", &[b'x'; 1000][..]].concat(),
        binary(0x21, 0x11, &FOUR[..11]),
        binary(0x21, 0x21, &[0; 35]),
        binary(0x21, 0x31, &[0; 215]),
        binary(0x21, 0x12, &FOUR),
        binary(0x21, 0x01, &FOUR),
        binary(0x21, 0x41, &FOUR),
        binary(0x22, 0x11, &FOUR),
        binary(0x11, 0x11, &FOUR),
        binary(0x31, 0x11, &FOUR),
        // Said before the body has come.
        [SIGNATURE, b"\x21\x11\xff\xff"].concat(),
        [SIGNATURE, b"\x21\x12\x00\x0c"].concat(),
    ];
    for bytes in table {
        let shown = String::from_utf8_lossy(&bytes).into_owned();
        assert_eq!(read(&bytes), Err(ProxyHeaderError::Malformed), "{shown}");
    }
}

#[test]
fn headers_are_written() {
    let text = |header: Header| String::from_utf8(header.write(Version::V1)).unwrap();
    assert_eq!(text(between("192.0.2.1:1", "192.0.2.2:258")), "PROXY TCP4 192.0.2.1 192.0.2.2 1 258\r\n");
    assert_eq!(text(between("[2001:db8::1]:1", "[::1]:2")), "PROXY TCP6 2001:db8::1 ::1 1 2\r\n");
    assert_eq!(text(between("192.0.2.1:1", "[::1]:2")), "PROXY TCP4 192.0.2.1 0.0.0.0 1 2\r\n");
    assert_eq!(text(between("[2001:db8::1]:1", "192.0.2.1:2")), "PROXY TCP6 2001:db8::1 :: 1 2\r\n");
    assert_eq!(text(Header::Unknown), "PROXY UNKNOWN\r\n");
    assert_eq!(text(Header::Local), "PROXY UNKNOWN\r\n");
    assert_eq!(between("192.0.2.1:1", "192.0.2.2:258").write(Version::V2), binary(0x21, 0x11, &FOUR));
    assert_eq!(Header::Unknown.write(Version::V2), binary(0x21, 0x00, b""));
    assert_eq!(Header::Local.write(Version::V2), binary(0x20, 0x00, b""));
}

proptest! {
    #[test]
    fn what_is_written_is_read(source: (IpAddr, u16), destination: (IpAddr, u16), early: Vec<u8>) {
        let header = proxied(source, destination);
        for version in [Version::V1, Version::V2] {
            let bytes = header.write(version);
            let (back, end) = read(&[&bytes[..], &early].concat()).unwrap().unwrap();
            prop_assert_eq!(end, bytes.len());
            let Header::Proxied { source, destination } = header else { unreachable!() };
            let Header::Proxied { source: from, destination: to } = back else { panic!("{back:?}") };
            prop_assert_eq!(from, source);
            prop_assert_eq!(to.port(), destination.port());
        }
    }

    #[test]
    fn more_bytes_never_change_a_verdict(start in 0..3usize, rest: Vec<u8>) {
        let bytes = [[&b""[..], b"PROXY ", SIGNATURE][start], &rest].concat();
        let mut verdict = Ok(None);
        for end in 0..=bytes.len() {
            let now = read(&bytes[..end]);
            if verdict != Ok(None) {
                prop_assert_eq!(now, verdict);
            }
            if let Ok(Some((_, length))) = now {
                prop_assert!(length <= end);
            }
            verdict = now;
        }
    }
}
