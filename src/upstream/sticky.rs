//! The sticky cookie: a client that has it comes back to the backend that served it before.
//!
//! Its value is the HMAC-SHA256 (RFC 2104) of the pool's name and the backend's address, cut to 128 bits: whoever has no
//! secret can neither make one nor read an address from it, and every longhaul with the secret knows it, without a table
//! that they would share. Anything else is no cookie of this pool. It says nothing about the client, and does not end
//! by itself: who changes the secrets ends all.

use std::collections::HashMap;
use std::fmt::Write;

use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use aws_lc_rs::hmac::{self, HMAC_SHA256};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{HeaderMap, HeaderValue, SET_COOKIE};

use super::members::Member;
use crate::config::{self, SameSite};
use crate::net::tls::secrets::Secrets;
use crate::proto::cookie;

/// What tells these keys from any others that may be derived from the same secrets.
const CONTEXT: &[u8] = b"longhaul sticky cookies 1";
/// Of the HMAC, in a cookie.
const TAG_BYTES: usize = 16;

/// The cookies of one pool's members.
pub struct Cookies {
    name: String,
    /// Whether it is set again with each answer, since its age counts from there.
    is_renewed: bool,
    /// Which member a value names.
    members: HashMap<Box<[u8]>, usize>,
    /// What sets the cookie of each member: over plain text, over TLS.
    lines: Box<[[HeaderValue; 2]]>,
}

/// What a request says by its cookie.
#[derive(Clone, Copy, Debug, Default)]
pub struct Shown {
    /// The member that it names.
    pub member: Option<usize>,
    /// Whether the client's connection is TLS.
    pub secure: bool,
}

impl Cookies {
    /// The cookies of these members of `pool`.
    ///
    /// # Errors
    /// When the cryptography provider cannot derive keys.
    pub fn new(
        words: &config::Sticky,
        secrets: &Secrets,
        pool: &str,
        members: &[Member],
    ) -> Result<Cookies, Unspecified> {
        let keys: Vec<hmac::Key> = secrets.iter().map(|secret| key(secret)).collect::<Result<_, _>>()?;
        let value = |key: &hmac::Key, member: &Member| {
            // Names have no zero bytes, so no two pairs are the same text.
            let tag = hmac::sign(key, [pool, "\0", &member.backend.label].concat().as_bytes());
            URL_SAFE_NO_PAD.encode(tag.as_ref().get(..TAG_BYTES).unwrap_or_default())
        };
        let line = |member: &Member| {
            let made = keys.first().map(|key| value(key, member)).unwrap_or_default();
            [false, true].map(|over_tls| line(words, &made, words.secure.unwrap_or(over_tls)))
        };
        let known = members.iter().enumerate().flat_map(|(index, member)| {
            keys.iter().map(move |key| (value(key, member).into_bytes().into_boxed_slice(), index))
        });
        Ok(Cookies {
            name: words.cookie.clone(),
            is_renewed: words.max_age.is_some(),
            members: known.collect(),
            lines: members.iter().map(line).collect(),
        })
    }

    /// The member that a cookie of the request names; one of several, if there are some.
    pub fn named(&self, headers: &HeaderMap) -> Option<usize> {
        cookie::values(headers, &self.name).find_map(|value| self.members.get(value).copied())
    }

    /// Makes an answer of `member` set its cookie, unless the request had it.
    pub fn set(&self, member: usize, shown: Shown, answer: &mut HeaderMap) {
        if shown.member == Some(member) && !self.is_renewed {
            return;
        }
        if let Some(lines) = self.lines.get(member) {
            answer.append(SET_COOKIE, lines[usize::from(shown.secure)].clone());
        }
    }
}

fn key(secret: &[u8]) -> Result<hmac::Key, Unspecified> {
    let secret = Salt::new(HKDF_SHA256, CONTEXT).extract(secret);
    Ok(secret.expand(&[b"backend"], HMAC_SHA256)?.into())
}

/// What sets the cookie (RFC 6265 4.1.1).
fn line(words: &config::Sticky, value: &str, secure: bool) -> HeaderValue {
    let mut line = format!("{}={value}; Path={}", words.cookie, words.path);
    if let Some(domain) = &words.domain {
        let _ = write!(line, "; Domain={domain}");
    }
    if let Some(age) = words.max_age {
        let _ = write!(line, "; Max-Age={}", age.as_secs());
    }
    let same_site = match words.same_site {
        SameSite::Strict => "Strict",
        SameSite::Lax => "Lax",
        SameSite::None => "None",
    };
    for (wanted, attribute) in [(secure, "Secure"), (words.http_only, "HttpOnly")] {
        if wanted {
            line.push_str("; ");
            line.push_str(attribute);
        }
    }
    let _ = write!(line, "; SameSite={same_site}");
    // The words were checked: all of it is visible ASCII and spaces.
    HeaderValue::try_from(line).unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::header::COOKIE;

    use super::*;
    use crate::config::defaults;
    use crate::net::tls::secrets::SECRET_BYTES;
    use crate::upstream::balance::tests::members;

    fn words() -> config::Sticky {
        config::Sticky {
            cookie: "lh".to_owned(),
            keys: None,
            path: "/".to_owned(),
            domain: None,
            max_age: None,
            secure: None,
            http_only: true,
            same_site: defaults::STICKY_SAME_SITE,
        }
    }

    fn cookies(secrets: &[u8], pool: &str) -> Cookies {
        let secrets = Secrets::from_iter(secrets.iter().map(|byte| [*byte; SECRET_BYTES]));
        Cookies::new(&words(), &secrets, pool, &members(&[1, 1, 1])).unwrap()
    }

    /// What a client sends that was served by `member`.
    fn value(cookies: &Cookies, member: usize) -> String {
        let mut answer = HeaderMap::new();
        cookies.set(member, Shown::default(), &mut answer);
        let line = answer[SET_COOKIE].to_str().unwrap();
        line.split(';').next().unwrap().to_owned()
    }

    fn named(cookies: &Cookies, sent: &str) -> Option<usize> {
        let mut headers = HeaderMap::new();
        headers.insert(COOKIE, sent.parse().unwrap());
        cookies.named(&headers)
    }

    #[test]
    fn replicas_with_a_secret_in_common_understand_each_other() {
        let (one, other) = (cookies(&[1], "chat"), cookies(&[2, 1], "chat"));
        for member in 0..3 {
            let value = value(&one, member);
            assert_eq!(named(&one, &value), Some(member));
            assert_eq!(named(&other, &format!("a=b; {value}; c=d")), Some(member));
            assert_eq!(named(&cookies(&[3], "chat"), &value), None, "another secret");
            assert_eq!(named(&cookies(&[1], "site"), &value), None, "another pool");
            assert_eq!(named(&cookies(&[2], "chat"), &value), None, "a secret that is gone");
        }
        // Another value would send every client of every deployment elsewhere.
        assert_eq!(value(&one, 0), "lh=2UGrMqPHVvSWxC9OTGhB9A");
    }

    #[test]
    fn what_was_touched_names_nobody_and_a_good_one_beside_it_is_found() {
        let cookies = cookies(&[1], "chat");
        let good = value(&cookies, 1);
        for index in 3..good.len() {
            let mut bytes = good.clone().into_bytes();
            bytes[index] = if bytes[index] == b'x' { b'y' } else { b'x' };
            let touched = String::from_utf8(bytes).unwrap();
            assert_eq!(named(&cookies, &touched), None);
            assert_eq!(named(&cookies, &good[..index]), None);
            assert_eq!(named(&cookies, &format!("{touched}; {good}")), Some(1));
        }
        assert_eq!(named(&cookies, &format!("{good}x")), None);
        assert_eq!(named(&cookies, &good.replace("lh=", "lh2=")), None);
    }

    #[test]
    fn it_is_set_when_the_client_has_another_or_when_it_ages() {
        let is_set = |words: &config::Sticky, shown| {
            let secrets = Secrets::from_iter([[1; SECRET_BYTES]]);
            let mut answer = HeaderMap::new();
            Cookies::new(words, &secrets, "chat", &members(&[1, 1])).unwrap().set(1, shown, &mut answer);
            answer.contains_key(SET_COOKIE)
        };
        for (member, expected) in [(None, true), (Some(0), true), (Some(1), false)] {
            assert_eq!(is_set(&words(), Shown { member, secure: false }), expected, "{member:?}");
        }
        let words = config::Sticky { max_age: Some(Duration::from_secs(60)), ..words() };
        assert!(is_set(&words, Shown { member: Some(1), secure: false }));
    }

    #[test]
    fn attributes_are_what_was_asked_for() {
        let line = |words: &config::Sticky, secure| line(words, "v", words.secure.unwrap_or(secure));
        assert_eq!(line(&words(), false), "lh=v; Path=/; HttpOnly; SameSite=Lax");
        assert_eq!(line(&words(), true), "lh=v; Path=/; Secure; HttpOnly; SameSite=Lax");
        let all = config::Sticky {
            path: "/ws".to_owned(),
            domain: Some("example.com".to_owned()),
            max_age: Some(Duration::from_secs(86_400)),
            secure: Some(true),
            http_only: false,
            same_site: SameSite::None,
            ..words()
        };
        let expected = "lh=v; Path=/ws; Domain=example.com; Max-Age=86400; Secure; SameSite=None";
        assert_eq!(line(&all, false), expected);
        let strict = config::Sticky { secure: Some(false), same_site: SameSite::Strict, ..words() };
        assert_eq!(line(&strict, true), "lh=v; Path=/; HttpOnly; SameSite=Strict");
    }
}
