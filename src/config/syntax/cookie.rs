//! What a cookie is set with (RFC 6265 4.1).

use toml::Spanned;
use toml::de::DeValue;

use super::address::host_name;
use super::{CookieName, Wrong, only_host, text, text_words, write, wrong};
use crate::config::reader::{Reader, Word};
use crate::config::shape::Shape;
use crate::config::words::Key;

/// Below which path it is sent: begins with `/`, and has nothing that ends an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CookiePath(pub String);

/// Below which domain it is sent: a host name in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CookieDomain(pub String);

text_words! {
    CookieName = "a name such as longhaul", |text, _| CookieName::parse(text);
    CookiePath = "a path that begins with /", |text, _| cookie_path(text);
    CookieDomain = "a domain such as example.com", |text, _| cookie_domain(text);
}

fn cookie_path(text: &str) -> Result<CookiePath, Wrong> {
    if !text.starts_with('/') {
        return wrong(text, "does not begin with /", write(format!("/{text}")));
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b';') {
        return wrong(text, "has a character that no cookie has", "write it percent-encoded, such as %3B");
    }
    Ok(CookiePath(text.to_owned()))
}

/// A dot before it means nothing (RFC 6265 4.1.2.3).
fn cookie_domain(text: &str) -> Result<CookieDomain, Wrong> {
    only_host(text)?;
    Ok(CookieDomain(host_name(text.strip_prefix('.').unwrap_or(text))?))
}
