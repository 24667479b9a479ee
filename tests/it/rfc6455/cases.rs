//! What the sections of RFC 6455 let peers send, and what they forbid; written by hand, without the proxy's own encoder.

/// How the length of a frame is written (RFC 6455 5.2).
#[derive(Clone, Copy, Debug)]
pub enum Form {
    /// In the second byte, or in the shortest form that has room.
    Shortest,
    /// In two bytes more.
    Two,
    /// In eight bytes more.
    Eight,
}

/// A frame by hand: it need not be valid.
#[derive(Clone, Debug)]
pub struct Raw {
    first: u8,
    form: Form,
    payload: Vec<u8>,
}

/// A frame: its first byte (FIN, RSV1 to RSV3, opcode) and its payload.
pub fn raw(first: u8, payload: impl AsRef<[u8]>) -> Raw {
    Raw { first, form: Form::Shortest, payload: payload.as_ref().to_vec() }
}

/// A Close with `code`.
fn close(code: u16, reason: &str) -> Raw {
    raw(0x88, [&code.to_be_bytes()[..], reason.as_bytes()].concat())
}

/// So many bytes that differ.
fn bytes(count: usize) -> Vec<u8> {
    (0..count).map(|place| (place % 251) as u8).collect()
}

impl Raw {
    fn in_form(self, form: Form) -> Raw {
        Raw { form, ..self }
    }

    /// As a client sends it with `key`, or as a backend does.
    pub fn encode(&self, key: Option<[u8; 4]>) -> Vec<u8> {
        let mask = if key.is_some() { 0x80 } else { 0 };
        let length = self.payload.len() as u64;
        let mut frame = vec![self.first];
        match (self.form, length) {
            (Form::Shortest, 0..126) => frame.push(mask | length as u8),
            (Form::Two, _) | (Form::Shortest, 126..0x1_0000) => {
                frame.push(mask | 126);
                frame.extend_from_slice(&(length as u16).to_be_bytes());
            }
            _ => {
                frame.push(mask | 127);
                frame.extend_from_slice(&length.to_be_bytes());
            }
        }
        let key = key.inspect(|key| frame.extend_from_slice(key)).unwrap_or_default();
        frame.extend(self.payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
        frame
    }
}

/// What one side sends, whichever it is.
pub struct Case {
    /// The section, and what of it.
    pub what: String,
    /// Joined, in this order.
    pub frames: Vec<Raw>,
    /// The masking key of a client's frames.
    pub key: [u8; 4],
    /// The extension that both agreed on.
    pub extension: Option<&'static str>,
    /// Messages up to the end, or to what breaks the rules.
    pub messages: u64,
    /// The rule that is broken, as records tell it.
    pub violation: Option<&'static str>,
    /// The Close among them, and its code.
    pub close: Option<Option<u16>>,
    /// Bytes at the end that are not sent.
    pub missing: usize,
}

impl Case {
    fn of(what: impl Into<String>, frames: Vec<Raw>, messages: u64) -> Case {
        let (key, extension) = ([0x37, 0xfa, 0x21, 0x3d], None);
        let what = what.into();
        Case { what, frames, key, extension, messages, violation: None, close: None, missing: 0 }
    }

    fn breaking(self, rule: &'static str) -> Case {
        Case { violation: Some(rule), ..self }
    }
}

const PMD: Option<&str> = Some("permessage-deflate");
/// "Hello" in a message that was compressed (RFC 7692 7.2.3.1).
const HELLO: [u8; 7] = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];

/// All of them.
pub fn all() -> Vec<Case> {
    [base_framing(), masking(), fragmentation(), control_frames(), closing(), extensions()]
        .into_iter()
        .flatten()
        .collect()
}

/// Section 5.2: opcodes, and lengths at the edges of their forms.
fn base_framing() -> Vec<Case> {
    let mut cases: Vec<Case> = [0, 1, 125, 126, 127, 0xffff, 0x1_0000, 0x1_0001, 1 << 20]
        .map(|count| Case::of(format!("5.2: {count} bytes"), vec![raw(0x82, bytes(count))], 1))
        .into();
    for opcode in [3, 4, 5, 6, 7, 0xb, 0xc, 0xd, 0xe, 0xf] {
        let frames = vec![raw(0x81, "before"), raw(0x80 | opcode, "reserved"), raw(0x81, "after")];
        cases.push(
            Case::of(format!("5.2: opcode {opcode}"), frames, 1).breaking("a frame has a reserved opcode"),
        );
    }
    for (count, form) in [(125, Form::Two), (0, Form::Two), (0xffff, Form::Eight), (125, Form::Eight)] {
        let frames = vec![raw(0x82, bytes(count)).in_form(form), raw(0x81, "after")];
        let case = Case::of(format!("5.2: {count} bytes in the form {form:?}"), frames, 0);
        cases.push(case.breaking("a length is not in its shortest form"));
    }
    cases.push(Case {
        missing: 3,
        ..Case::of("5.2: a frame that does not end", vec![raw(0x82, bytes(9))], 0)
    });
    cases.push(Case { missing: 1, ..Case::of("5.2: a header that does not end", vec![raw(0x82, "")], 0) });
    cases
}

/// Section 5.3: any key is as good as any other.
fn masking() -> Vec<Case> {
    [[0; 4], [0xff; 4], [0x88, 0x02, 0x03, 0xe8]]
        .map(|key| {
            let frames = vec![raw(0x81, "masked"), raw(0x89, "ping"), raw(0x82, bytes(300))];
            Case { key, ..Case::of(format!("5.3: the key {key:x?}"), frames, 2) }
        })
        .into()
}

/// Sections 5.4 and 5.6: messages in parts; text that is none is for the peers to refuse.
fn fragmentation() -> Vec<Case> {
    let start_inside = "a message starts inside another message";
    let nothing_to_continue = "a continuation frame continues nothing";
    vec![
        Case::of("5.4: two parts", vec![raw(0x01, "Hel"), raw(0x80, "lo")], 1),
        Case::of("5.4: empty parts", vec![raw(0x02, ""), raw(0x00, ""), raw(0x00, ""), raw(0x80, "")], 1),
        Case::of(
            "5.4: parts of all lengths",
            [raw(0x02, bytes(125))]
                .into_iter()
                .chain([126, 0xffff, 0x1_0000].map(|count| raw(0x00, bytes(count))))
                .chain([raw(0x80, "")])
                .collect(),
            1,
        ),
        Case::of(
            "5.4: control frames between parts",
            vec![
                raw(0x01, "a"),
                raw(0x89, "p"),
                raw(0x00, "b"),
                raw(0x8a, "p"),
                raw(0x89, ""),
                raw(0x80, "c"),
                raw(0x82, "d"),
            ],
            2,
        ),
        Case::of("5.4: a character in two parts", vec![raw(0x01, [0xe2, 0x82]), raw(0x80, [0xac])], 1),
        Case::of("5.4: parts that do not end", vec![raw(0x01, "Hel"), raw(0x00, "lo")], 0),
        Case::of("5.6: text that is none", vec![raw(0x81, [0xff, 0xfe, 0xc0, 0xaf])], 1),
        Case::of("5.4: nothing to continue", vec![raw(0x81, "a"), raw(0x80, "b")], 1)
            .breaking(nothing_to_continue),
        Case::of("5.4: nothing to continue, in parts", vec![raw(0x00, "b")], 0).breaking(nothing_to_continue),
        Case::of("5.4: text within text", vec![raw(0x01, "a"), raw(0x81, "b"), raw(0x80, "")], 0)
            .breaking(start_inside),
        Case::of("5.4: a part that begins anew", vec![raw(0x01, "a"), raw(0x02, "b")], 0)
            .breaking(start_inside),
    ]
}

/// Sections 5.5.2 and 5.5.3, and what 5.5 forbids.
fn control_frames() -> Vec<Case> {
    let mut cases = Vec::new();
    for opcode in [8, 9, 10] {
        let long = vec![raw(0x81, "a"), raw(0x80 | opcode, bytes(126)), raw(0x81, "b")];
        let case = Case::of(format!("5.5: opcode {opcode} with 126 bytes"), long, 1);
        cases.push(case.breaking("a control frame is longer than 125 bytes"));
        let parts = vec![raw(opcode, "a"), raw(0x80, "b")];
        let case = Case::of(format!("5.5: opcode {opcode} in parts"), parts, 0);
        cases.push(case.breaking("a control frame is fragmented"));
    }
    for count in [0, 1, 8, 125] {
        let frames = vec![raw(0x89, bytes(count)), raw(0x8a, bytes(count)), raw(0x81, "after")];
        cases.push(Case::of(format!("5.5.2: {count} bytes in Ping and Pong"), frames, 1));
    }
    cases
}

/// Sections 5.5.1 and 7.4: Close frames pass as they are, whatever code they have; so does what wrongly follows them.
fn closing() -> Vec<Case> {
    let valid =
        [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999];
    let wrong = [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 0xffff];
    let mut cases: Vec<Case> = valid
        .into_iter()
        .chain(wrong)
        .map(|code| Case {
            close: Some(Some(code)),
            ..Case::of(format!("7.4: code {code}"), vec![close(code, "why")], 0)
        })
        .collect();
    for (what, frame, code) in [
        ("no payload", raw(0x88, ""), None),
        ("half a code", raw(0x88, [3]), None),
        ("the longest reason", close(1000, &"x".repeat(123)), Some(1000)),
        ("a reason that is no text", raw(0x88, [3, 232, 0xff]), Some(1000)),
    ] {
        cases.push(Case { close: Some(code), ..Case::of(format!("5.5.1: {what}"), vec![frame], 0) });
    }
    let late = vec![raw(0x81, "before"), close(1000, ""), raw(0x81, "late"), close(1001, "")];
    cases.push(Case { close: Some(Some(1000)), ..Case::of("5.5.1: frames behind a Close", late, 2) });
    cases
}

/// Sections 5.2 and 5.8, and RFC 7692 6: reserved bits, with and without an extension that uses the first.
fn extensions() -> Vec<Case> {
    let reserved = "a frame has a reserved bit that no extension agreed on";
    let mut cases = Vec::new();
    for bit in [0x40, 0x20, 0x10] {
        let frames = vec![raw(0x81, "before"), raw(0x81 | bit, "reserved"), raw(0x81, "after")];
        cases.push(Case::of(format!("5.2: the bit {bit:#x}"), frames.clone(), 1).breaking(reserved));
        if bit != 0x40 {
            let case =
                Case { extension: PMD, ..Case::of(format!("5.2: the bit {bit:#x}, compressed"), frames, 1) };
            cases.push(case.breaking(reserved));
        }
        let ping = Case {
            extension: PMD,
            ..Case::of(format!("5.8: a Ping with {bit:#x}"), vec![raw(0x89 | bit, "")], 0)
        };
        cases.push(ping.breaking(reserved));
    }
    let compressed = vec![
        raw(0xc1, HELLO),
        raw(0x81, "not compressed"),
        raw(0x41, &HELLO[..3]),
        raw(0x89, "p"),
        raw(0x80, &HELLO[3..]),
    ];
    cases.push(Case { extension: PMD, ..Case::of("RFC 7692: compressed messages", compressed, 3) });
    let second = vec![raw(0x41, &HELLO[..3]), raw(0xc0, &HELLO[3..])];
    let case = Case { extension: PMD, ..Case::of("RFC 7692: the bit on a later part", second, 0) };
    cases.push(case.breaking(reserved));
    cases
}
