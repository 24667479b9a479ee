//! One function for each parser: what must hold of it on any bytes. cargo-fuzz runs them for hours, the tests of longhaul
//! for a moment.
//!
//! Heads are written as text: a start line, then a field on each line.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, request, response};

use super::proto::frame::{Header, Violation, unmask};
use super::proto::handshake::{read_extended_offer, read_offer, write_connected, write_switching};
use super::proto::http2::frames::{Told, Walk};
use super::proto::limit::{Limit, Limits};
use super::proto::peer::{Connection, Peer};
use super::proto::rate::Rate;
use super::proto::scan::{Frame, Scanner, Side, Step};
use super::proto::weave::{Next, Offence, Watch, Weave};
use super::proto::{
    authority, cookie, forwarded, hop, http2, list, origin, persistence, prefix, proxy_header, query,
};
use super::records::records;

/// A target and its name.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: &[Target] = &[
    ("frame", frame),
    ("scan", scan),
    ("weave", weave),
    ("offer", offer),
    ("extended_offer", extended_offer),
    ("answer", answer),
    ("authority", read_authority),
    ("forwarded", read_forwarded),
    ("hop", strip_hop),
    ("http2_fields", http2_fields),
    ("http2_frames", http2_frames),
    ("origin", read_origin),
    ("list", read_list),
    ("persistence", read_persistence),
    ("proxy_header", read_proxy_header),
    ("prefix", replace_prefix),
    ("query", read_query),
    ("cookie", read_cookies),
    ("records", records),
];

/// A frame's header is the same written again, and is only short until it is whole.
pub fn frame(bytes: &[u8]) {
    let Ok(Some((header, length))) = Header::read(bytes) else { return };
    assert!(length <= bytes.len() && length <= 14);
    assert_eq!(Header::read(&bytes[..length - 1]), Ok(None));
    let mut written = Vec::new();
    header.write(&mut written);
    assert_eq!(written, bytes[..length]);
    if let Some(mask) = header.mask {
        let mut payload = bytes[length..].to_vec();
        unmask(&mut payload, mask, 3);
        unmask(&mut payload, mask, 3);
        assert_eq!(payload, bytes[length..]);
    }
}

/// A direction is seen the same, however it is cut, and as a reader of frames that are whole sees it.
pub fn scan(bytes: &[u8]) {
    let Some(([choice, step], bytes)) = bytes.split_first_chunk() else { return };
    let side = if choice & 1 == 0 { Side::Client } else { Side::Backend };
    let new = || Scanner::new(side, choice & 2 == 0);
    let (mut whole, mut pieces) = (new(), new());
    let mut seen = [Vec::new(), Vec::new()];
    let [one, other] = &mut seen;
    walk(&mut whole, bytes, one);
    for piece in bytes.chunks(usize::from(*step).max(1)) {
        walk(&mut pieces, piece, other);
    }
    assert_eq!(whole.at_boundary(), pieces.at_boundary());
    assert_eq!(whole.close(), pieces.close());
    assert_eq!(whole.violation(), pieces.violation());
    assert_eq!(seen[0], seen[1]);
    let (mut at, mut left) = (0, seen[0].len());
    while left > 0 {
        let (header, header_bytes) =
            Header::read(&bytes[at..]).expect("a frame was seen").expect("and its header");
        at += header_bytes + usize::try_from(header.length).expect("its payload is there");
        left -= 1;
    }
    assert!(at <= bytes.len() && (!whole.at_boundary() || at == bytes.len()));
}

/// What the proxy adds stands between two frames, in its order, and nothing behind its Close; what passes is the source's.
pub fn weave(bytes: &[u8]) {
    let Some(([choice, step, ping_at, close_at], bytes)) = bytes.split_first_chunk() else { return };
    // Not to be mistaken for the source's.
    let Some(ping) = absent(bytes, |[high, low]| [0x89, 0x03, b'#', high, low]) else { return };
    let Some(close) = absent(bytes, |[high, low]| [0x88, 0x02, 0x0b + high % 8, low]) else { return };
    let side = if choice & 1 == 0 { Side::Client } else { Side::Backend };
    let is_strict = choice & 2 == 0;
    let mut weave = Weave::new(Scanner::new(side, choice & 4 == 0), is_strict);
    if choice & 8 == 0 {
        weave.await_answer(*b"12345678");
    }
    let is_limited = choice & 16 == 0;
    if is_limited {
        let (rate, waits) = (Some(Rate::new(u64::from(*step), 2)), choice & 32 == 0);
        let (frame_max, message_max) = (Some(u64::from(*step)), Some(3 * u64::from(*step)));
        weave.limit(Limits {
            frame_max,
            message_max,
            frames: rate,
            messages: rate,
            bytes: None,
            control: rate,
            waits,
        });
    }
    if choice & 64 == 0 {
        weave.tell_headers();
    }
    let mut clock = Clock(0);
    // Pieces as the reader gets them, and what it was told.
    let (mut passed, mut own) = (Vec::new(), 0);
    let mut room = [0; 14];
    let mut is_over = false;
    for (number, piece) in bytes.chunks(usize::from(*step).max(1)).enumerate() {
        if number == usize::from(*ping_at) {
            weave.say(&ping);
        }
        if number == usize::from(*close_at) {
            weave.say_close(1011, &close);
        }
        let mut pass = |bytes: &[u8]| passed.push(bytes.to_vec());
        weave.speak(&mut pass);
        let start = room.len() - weave.resume(&mut room);
        let whole = [&room[start..], piece].concat();
        let over = take(&mut weave, whole, &mut clock, &mut pass);
        assert!(match over {
            None => true,
            Some(Offence::Violation(_)) => is_strict && !is_over,
            Some(Offence::Over(Limit::Bytes)) => false,
            Some(Offence::Over(_)) => is_limited && !is_over,
        });
        is_over |= over.is_some();
    }
    let said = passed.concat();
    let mut source = bytes;
    let mut rest = &*said;
    let mut place = Scanner::new(side, choice & 4 == 0);
    while !rest.is_empty() {
        let frames: [&[u8]; 2] = [&ping, &close];
        if let Some(frame) = frames.into_iter().find(|frame| rest.starts_with(frame)) {
            assert!(place.at_boundary() && place.close().is_none() && own < 2, "{said:x?}");
            assert!(frame != close || rest == close, "something follows the Close");
            (rest, own) = (&rest[frame.len()..], own + 1);
            continue;
        }
        // What does not pass is an answer to the proxy's own Ping.
        let answer = Header::read(source).ok().flatten().filter(|_| place.at_boundary());
        if let Some((header, header_bytes)) = answer
            && choice & 8 == 0
            && header.length == 8
            && let Some(payload) = source.get(header_bytes..header_bytes + 8)
            && !rest.starts_with(&source[..header_bytes + 8])
        {
            let mut payload = payload.to_vec();
            unmask(&mut payload, header.mask.unwrap_or_default(), 0);
            assert_eq!(payload[..6], *b"123456");
            assert!(matches!(place.step(&mut &source[..header_bytes + 8]), Step::Frame(_)));
            source = &source[header_bytes + 8..];
            continue;
        }
        assert_eq!(rest.first(), source.first(), "{said:x?} of {bytes:x?}");
        place.step(&mut &rest[..1]);
        (rest, source) = (&rest[1..], &source[1..]);
    }
    assert!(weave.own_close().is_none() || said.ends_with(&close));
}

/// The first of these frames that is nowhere in `bytes`.
fn absent<const N: usize>(bytes: &[u8], frame: impl Fn([u8; 2]) -> [u8; N]) -> Option<[u8; N]> {
    let mut frames = (0..1024_u16).map(|number| frame(number.to_be_bytes()));
    frames.find(|frame| !bytes.windows(N).any(|window| window == frame))
}

/// Takes all of a piece, as the time for it comes; why not, if it never does.
fn take(
    weave: &mut Weave,
    mut bytes: Vec<u8>,
    clock: &mut Clock,
    pass: &mut impl FnMut(&[u8]),
) -> Option<Offence> {
    let mut start = 0;
    loop {
        match weave.take(&bytes[start..], clock, &mut *pass) {
            Err(offence) => return Some(offence),
            Ok(taken) if start + taken == bytes.len() => return None,
            Ok(taken) => weave.give_back(bytes, start + taken),
        }
        assert!(weave.is_held());
        (bytes, start) = loop {
            match weave.next(clock) {
                Next::Again(bytes, start) => break (bytes, start),
                Next::Nothing => {}
                Next::Read(_) => panic!("what was given back is forgotten"),
            }
        };
    }
}

/// Is told of everything, and forgets it. Its time goes on whenever it is looked at.
struct Clock(u64);

impl Watch for Clock {
    fn now(&mut self, _: bool) -> u64 {
        self.0 += 10_000_000;
        self.0
    }

    fn taken(&mut self, _: usize) {}

    fn frame(&mut self, _: Frame, _: &Scanner) {}

    fn violation(&mut self, _: Violation) {}
}

/// What a scanner says of a piece.
fn walk(scanner: &mut Scanner, mut piece: &[u8], seen: &mut Vec<Frame>) {
    while !piece.is_empty() {
        match scanner.step(&mut piece) {
            Step::Frame(frame) => seen.push(frame),
            Step::More => assert!(piece.is_empty()),
            Step::Violation(_) => {
                assert!(scanner.is_blind());
                break;
            }
        }
    }
}

/// What goes up is an offer again, and the same.
pub fn offer(bytes: &[u8]) {
    let Some(head) = request_head(bytes) else { return };
    let Ok(Some(offer)) = read_offer(&head) else { return };
    let mut again = Request::get("/").body(()).expect("a request").into_parts().0;
    offer.write(&mut again.headers);
    let mut both = head;
    hop::strip(&mut both.headers);
    offer.write(&mut both.headers);
    let read = read_offer(&both).expect("an offer").expect("an offer");
    assert_eq!(read.accept(), offer.accept());
}

/// An offer that came over HTTP/2 is one of HTTP/1.1 as the backend gets it, of the same things.
pub fn extended_offer(bytes: &[u8]) {
    let Some((nonce, bytes)) = bytes.split_first_chunk() else { return };
    let Some(mut head) = request_head(bytes) else { return };
    let Ok(offer) = read_extended_offer(&head, *nonce) else { return };
    hop::strip(&mut head.headers);
    offer.write(&mut head.headers);
    (head.method, head.version) = (http::Method::GET, http::Version::HTTP_11);
    let read = read_offer(&head).expect("an offer").expect("an offer");
    assert_eq!(read, offer);
    let mut answer = Response::builder().status(101).body(()).expect("an answer").into_parts().0;
    write_switching(&offer, &mut answer.headers);
    assert!(offer.check_answer(&answer).is_ok());
    hop::strip(&mut answer.headers);
    write_connected(&mut answer.headers);
    assert!(answer.headers.is_empty());
}

/// A 101 that passes the check passes it as the client gets it, too.
pub fn answer(bytes: &[u8]) {
    let Some(mut head) = response_head(bytes) else { return };
    let asked = "GET / HTTP/1.1\nHost: a\nConnection: Upgrade\nUpgrade: websocket\nSec-WebSocket-Version: 13\n\
                 Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\nSec-WebSocket-Protocol: chat, feed\n\
                 Sec-WebSocket-Extensions: permessage-deflate\n";
    let asked = request_head(asked.as_bytes()).expect("a head");
    let offer = read_offer(&asked).expect("an offer").expect("an offer");
    let Ok(agreed) = offer.check_answer(&head) else { return };
    assert_eq!(head.status, 101);
    assert!(agreed.subprotocol.as_ref().is_none_or(|name| offer.protocols.contains(name)));
    hop::strip(&mut head.headers);
    write_switching(&offer, &mut head.headers);
    assert!(offer.check_answer(&head).is_ok());
}

/// A host is in the one form that routes are compared with.
pub fn read_authority(bytes: &[u8]) {
    let Some(head) = request_head(bytes) else { return };
    let Ok(authority) = authority::read(&head) else { return };
    let host = &authority.host;
    assert!(!host.is_empty() && !host.bytes().any(|byte| byte.is_ascii_uppercase()));
    assert!(!host.contains(['/', '@', '[', ']', ',', ' ', '?', '#']));
}

/// Nobody who is not trusted says who the client is; what is written is read again.
pub fn read_forwarded(bytes: &[u8]) {
    let Some(mut head) = request_head(bytes) else { return };
    let peer = Peer::new(SocketAddr::new(IpAddr::from([127, 0, 0, 1]), 4711));
    let connection = Connection { socket: peer, proxied: None, destination: None };
    assert_eq!(connection.client(&head.headers, &[]), peer);
    let trusted = ["127.0.0.0/8".parse().expect("a network")];
    let client = connection.client(&head.headers, &trusted);
    assert!(client.ip().is_none_or(|ip| ip == ip.to_canonical()));
    let host = HeaderValue::from_static("a.example");
    for (is_trusted, expected) in [(true, client), (false, peer)] {
        let mut headers = head.headers.clone();
        forwarded::write(
            &mut headers,
            &forwarded::Sender { peer, secure: true, host: &host, trusted: is_trusted },
        );
        assert!(headers.contains_key("x-forwarded-for") || headers.contains_key("forwarded"));
        assert!(headers.keys().all(|name| !name.as_str().starts_with("x_forwarded_")));
        if expected == peer {
            assert_eq!(connection.client(&headers, &[]), peer);
        }
    }
    let unix = forwarded::Sender { peer: Peer::Unix, secure: false, host: &host, trusted: true };
    forwarded::write(&mut head.headers, &unix);
}

/// Nothing that belongs to one connection is left, and once is enough.
pub fn strip_hop(bytes: &[u8]) {
    let Some(mut head) = request_head(bytes) else { return };
    hop::strip(&mut head.headers);
    for name in ["connection", "keep-alive", "transfer-encoding", "upgrade", "proxy-connection"] {
        assert!(!head.headers.contains_key(name), "{name}");
    }
    let once = head.headers.clone();
    hop::strip(&mut head.headers);
    assert_eq!(head.headers, once);
}

/// Crumbs become one field and lengths one, nothing else is touched, and once is enough.
pub fn http2_fields(bytes: &[u8]) {
    let Some(mut head) = request_head(bytes) else { return };
    let _ = http2::values_are_valid(&head.headers);
    let text: usize = head.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    assert!(http2::head_bytes(&head) >= text + 32 * head.headers.len());
    let count = http2::field_count(&head.headers);
    let before = head.headers.clone();
    http2::join_cookies(&mut head.headers);
    assert_eq!(http2::field_count(&head.headers), count);
    assert!(head.headers.get_all("cookie").iter().count() <= 1);
    if let Some(joined) = head.headers.get("cookie") {
        let crumbs: Vec<_> = before.get_all("cookie").iter().map(HeaderValue::as_bytes).collect();
        assert_eq!(joined.as_bytes(), crumbs.join(&b"; "[..]));
    }
    http2::join_lengths(&mut head.headers);
    assert!(head.headers.get_all("content-length").iter().count() <= 1);
    for name in before.keys().filter(|name| !["cookie", "content-length"].contains(&name.as_str())) {
        assert!(before.get_all(name).iter().eq(head.headers.get_all(name)));
    }
    let once = head.headers.clone();
    http2::join_cookies(&mut head.headers);
    http2::join_lengths(&mut head.headers);
    assert_eq!(head.headers, once);
}

/// Frames are the same, however they are cut.
pub fn http2_frames(bytes: &[u8]) {
    let Some((step, bytes)) = bytes.split_first() else { return };
    let mut seen = [Vec::new(), Vec::new()];
    let [whole, pieces] = &mut seen;
    Walk::default().feed(bytes, |told| whole.push(written(told)));
    let mut walk = Walk::default();
    for piece in bytes.chunks(usize::from(*step).max(1)) {
        walk.feed(piece, |told| pieces.push(written(told)));
    }
    assert_eq!(seen[0], seen[1]);
    // What there is to see, counted by a reader of frames that are whole.
    let (mut rest, mut answers) = (bytes, 0);
    while let Some(([high, middle, low, kind, flags, ..], _)) = rest.split_first_chunk::<9>() {
        answers += usize::from(matches!(kind, 4 | 6) && flags & 1 == 1);
        let length = u32::from_be_bytes([0, *high, *middle, *low]) as usize;
        rest = rest.get(9 + length..).unwrap_or_default();
    }
    assert_eq!(seen[0].iter().filter(|told| told.is_none()).count(), answers);
}

/// The words of a farewell.
fn written(told: Told<'_>) -> Option<Vec<u8>> {
    match told {
        Told::Farewell(words) => {
            assert!(words.len() <= 64);
            Some(words.to_vec())
        }
        Told::Pong | Told::SettingsTaken => None,
    }
}

/// A connection stays open behind an answer with one framing, unless that says otherwise, and for the least time it says.
pub fn read_persistence(bytes: &[u8]) {
    let Some(mut head) = response_head(bytes) else { return };
    let has = |name| head.headers.contains_key(name);
    assert!(!persistence::stays_open(&head) || !has("content-length") || !has("transfer-encoding"));
    let seconds = persistence::idle_seconds(&head.headers);
    head.headers.append("keep-alive", HeaderValue::from_static("timeout=3"));
    assert_eq!(persistence::idle_seconds(&head.headers), Some(seconds.unwrap_or(3).min(3)));
    head.headers.append("connection", HeaderValue::from_static("close"));
    assert!(!persistence::stays_open(&head));
}

/// An origin has one form.
pub fn read_origin(bytes: &[u8]) {
    if let Some(head) = request_head(bytes) {
        let _ = origin::read(&head.headers);
    }
    let Some(origin::Origin::Tuple { scheme, host, .. }) =
        std::str::from_utf8(bytes).ok().and_then(origin::parse)
    else {
        return;
    };
    assert!(!scheme.bytes().chain(host.bytes()).any(|byte| byte.is_ascii_uppercase()));
}

/// Members have no commas, no white space around them, and are not empty.
pub fn read_list(bytes: &[u8]) {
    for member in list::split(bytes) {
        assert!(!member.is_empty() && !member.contains(&b',') && member.trim_ascii() == member);
        if let Some(token) = list::token(member) {
            assert_eq!(token.as_bytes(), member);
        }
    }
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_bytes(bytes) {
        headers.insert("connection", value);
        let name = HeaderName::from_static("connection");
        assert_eq!(list::members(&headers, &name).count(), list::split(bytes).count());
        let _ = list::has_member(&headers, &name, "upgrade");
    }
}

/// A verdict stands as soon as it is made, whatever follows; a header that is written is read.
pub fn read_proxy_header(bytes: &[u8]) {
    use proxy_header::{HEADER_BYTES_MAX, Header, Version};
    let verdict = proxy_header::read(bytes);
    let more = proxy_header::read(&[bytes, b"PROXY \r\n\0"].concat());
    if verdict != Ok(None) {
        assert_eq!(more, verdict);
    }
    let Ok(Some((header, length))) = verdict else { return };
    assert!(length <= bytes.len() && length <= HEADER_BYTES_MAX);
    assert_eq!(proxy_header::read(&bytes[..length]), verdict);
    assert_eq!(proxy_header::read(&bytes[..length - 1]), Ok(None));
    for version in [Version::V1, Version::V2] {
        let (again, _) = proxy_header::read(&header.write(version)).expect("a header").expect("a whole one");
        match (header, again) {
            (Header::Proxied { source, .. }, Header::Proxied { source: from, .. }) => {
                assert_eq!(from, source)
            }
            (Header::Proxied { .. }, _) | (_, Header::Proxied { .. }) => {
                panic!("{header:?} became {again:?}")
            }
            _ => {}
        }
    }
}

/// A parameter is found under its name, decoded once, and is never longer than it was sent.
pub fn read_query(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    assert!(query::pairs(text).count() <= bytes.len());
    for (name, value) in query::pairs(text).take(20) {
        let (plain_name, plain) = (name.decode(), value.decode());
        assert!(name.is(&plain_name) && value.is(&plain) && plain.len() <= bytes.len());
        if let Ok(name) = std::str::from_utf8(&plain_name) {
            assert!(query::values(text, name).any(|found| found.is(&plain)));
        }
    }
}

/// A cookie has neither separators nor white space around it, and is found under its name.
pub fn read_cookies(bytes: &[u8]) {
    let mut headers = HeaderMap::new();
    for line in bytes.split(|byte| *byte == b'\n').take(10) {
        if let Ok(line) = HeaderValue::from_bytes(line) {
            headers.append("cookie", line);
        }
    }
    for (name, value) in cookie::pairs(&headers).take(20) {
        assert!(!name.contains(&b'=') && !name.contains(&b';') && name.trim_ascii() == name);
        assert!(!value.contains(&b';') && value.trim_ascii() == value);
        if let Ok(name) = std::str::from_utf8(name) {
            assert!(cookie::values(&headers, name).any(|found| found == value));
        }
    }
}

fn request_head(bytes: &[u8]) -> Option<request::Parts> {
    let (line, fields) = lines(bytes)?;
    let mut words = line.split(' ');
    let builder = Request::builder().method(words.next()?).uri(words.next()?);
    let version = match words.next()? {
        "HTTP/1.0" => http::Version::HTTP_10,
        "HTTP/2" => http::Version::HTTP_2,
        _ => http::Version::HTTP_11,
    };
    let mut head = builder.version(version).body(()).ok()?.into_parts().0;
    head.headers = fields;
    Some(head)
}

fn response_head(bytes: &[u8]) -> Option<response::Parts> {
    let (line, fields) = lines(bytes)?;
    let mut head = Response::builder().status(line.split(' ').nth(1)?).body(()).ok()?.into_parts().0;
    head.headers = fields;
    Some(head)
}

/// The start line, and the fields that may be fields.
fn lines(bytes: &[u8]) -> Option<(&str, HeaderMap)> {
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let line = std::str::from_utf8(lines.next()?).ok()?;
    let mut fields = HeaderMap::new();
    for field in lines.take(100) {
        let colon = field.iter().position(|byte| *byte == b':').unwrap_or(field.len());
        let (name, value) = field.split_at(colon);
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
            fields.append(name, value);
        }
    }
    Some((line, fields))
}

/// A path stays below what its beginning becomes, is no other host, and its query is what it was. The lines are the two
/// beginnings, of which the configuration takes only sound ones, and the target.
pub fn replace_prefix(bytes: &[u8]) {
    let mut lines = bytes.splitn(3, |byte| *byte == b'\n');
    let mut text = || std::str::from_utf8(lines.next()?).ok();
    let (Some(from), Some(to), Some(target)) = (text(), text(), text()) else { return };
    let is_sound = |prefix: &&str| {
        prefix.starts_with('/')
            && prefix.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#*\\".contains(&byte))
            && !prefix.contains("//")
            && !prefix.split('/').any(|segment| matches!(segment, "." | ".."))
    };
    let (Some(from), Some(to)) = (Some(from).filter(is_sound), Some(to).filter(is_sound)) else { return };
    let Ok(target) = target.parse::<http::Uri>() else { return };
    if let Ok(Some(uri)) = prefix::Replacement::new(from, to).apply(&target) {
        let (path, to) = (uri.path(), to.trim_end_matches('/'));
        let rest = path.strip_prefix(to).expect("it begins with what was put there");
        assert!(rest.is_empty() || rest.starts_with('/'), "{path}");
        assert!(!path.starts_with("//") && !path.starts_with("/\\"), "{path}");
        assert!(!rest.split(['/', '\\']).any(|segment| segment == ".."), "{path}");
        assert_eq!(uri.query(), target.query());
    }
}
