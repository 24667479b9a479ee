//! What routes answer by themselves: where they send clients, and what they always say.

use toml::Spanned;
use toml::de::DeValue;

use super::{Wrong, text, text_words, write, wrong};
use crate::config::reader::{Reader, Word};
use crate::config::shape::Shape;
use crate::config::template::{Fault, Part};
use crate::config::words::Number;
use crate::config::{BODY_BYTES_MAX, Template, Variable};

/// Where clients are sent: a URL or a path, whose scheme and host no request can choose, but for its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location(pub Template);

/// The status of a redirect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RedirectStatus(pub u16);

/// The text of an answer, up to [`BODY_BYTES_MAX`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BodyText(pub String);

text_words! {
    Location = "a URL such as https://${host}${path}", |text, _| location(text);
    BodyText = "a text", |text, _| body(text);
}

impl Word for RedirectStatus {
    const SHAPE: &'static Shape =
        &Shape::Either(&[&Shape::Number { min: 301, max: 303 }, &Shape::Number { min: 307, max: 308 }]);

    fn read(value: &Spanned<DeValue<'_>>, reader: &mut Reader) -> Option<Self> {
        let Number(status) = Number::<100, 599>::read(value, reader)?;
        match status {
            301..=303 | 307..=308 => u16::try_from(status).ok().map(Self),
            _ => {
                let message = format!("{status} is no status of a redirect");
                let remedy =
                    "write 307, or 308 if it is for ever; 302, 301 or 303 make a GET of other methods";
                reader.report(&reader.place(value.span()), message, remedy);
                None
            }
        }
    }
}

impl From<Fault> for Wrong {
    fn from(Fault { message, remedy }: Fault) -> Self {
        Self { message, remedy }
    }
}

fn body(text: &str) -> Result<BodyText, Wrong> {
    if text.len() > BODY_BYTES_MAX {
        return wrong(text, "is longer than 1 MiB", "write a shorter text, or let a backend serve it");
    }
    Ok(BodyText(text.to_owned()))
}

fn location(text: &str) -> Result<Location, Wrong> {
    use Variable::{Authority, Host, Path, Query, Scheme};
    let template =
        Template::parse(text, |variable| matches!(variable, Scheme | Host | Authority | Path | Query))?;
    let is_of_url = |byte: u8| byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte);
    if !template.texts().all(|part| part.bytes().all(is_of_url)) {
        return wrong(text, "has a character that no URL has", "write it percent-encoded, such as %20");
    }
    let is_absolute = match template.parts() {
        [Part::Variable(Scheme), Part::Text(next), ..] => next.starts_with("://"),
        [Part::Text(first), ..] => SCHEMES.iter().any(|scheme| first.starts_with(scheme)),
        _ => false,
    };
    if is_absolute {
        authority(text, &template)?;
    } else {
        path(text, &template)?;
    }
    Ok(Location(template))
}

const SCHEMES: [&str; 4] = ["https://", "http://", "wss://", "ws://"];

/// The part of a URL that says whom to ask: from texts, and from the host that the client asked.
fn authority(text: &str, template: &Template) -> Result<(), Wrong> {
    let (mut is_empty, mut has_port) = (true, false);
    for (index, part) in template.parts().iter().enumerate() {
        match part {
            Part::Text(part) => {
                let part = if index <= 1 {
                    part.split_once("://").map_or(part.as_str(), |(_, rest)| rest)
                } else {
                    part
                };
                let end = part.find(['/', '?', '#']);
                let host = part.get(..end.unwrap_or(part.len())).unwrap_or_default();
                if host.contains('@') {
                    return wrong(text, "has a name or password", "remove what stands before the @");
                }
                if has_port && !host.is_empty() {
                    return wrong(
                        text,
                        "goes on behind `${authority}`, which may have a port",
                        "write ${host} instead",
                    );
                }
                is_empty &= host.is_empty();
                if end.is_some() {
                    break;
                }
            }
            Part::Variable(Variable::Scheme) if index == 0 => {}
            Part::Variable(variable @ (Variable::Host | Variable::Authority)) => {
                (is_empty, has_port) = (false, *variable == Variable::Authority);
            }
            // It begins with / or ?, if it is not empty.
            Part::Variable(Variable::Path | Variable::Query) => break,
            Part::Variable(variable) => {
                let what = format!("has `${{{}}}` where a host belongs", variable.name());
                return wrong(text, &what, "write https://${host}${path}");
            }
        }
    }
    match is_empty {
        true => wrong(text, "has no host", "write one, or https://${host}${path}"),
        false => Ok(()),
    }
}

/// A path on the same host. What begins with two slashes would be another host.
fn path(text: &str, template: &Template) -> Result<(), Wrong> {
    const OTHER_HOST: &str = "may lead to another host";
    match template.parts() {
        [Part::Variable(Variable::Path), ..] => Ok(()),
        [Part::Text(first), ..] if first.starts_with("//") => {
            wrong(text, OTHER_HOST, write(format!("https:{first}")))
        }
        [Part::Text(first), Part::Variable(Variable::Path), ..] if first == "/" => {
            wrong(text, OTHER_HOST, "write ${path}, which begins with a /")
        }
        [Part::Text(first), ..] if first.starts_with('/') => Ok(()),
        _ => wrong(text, "is neither a URL nor a path", "begin it with https://, with / or with ${path}"),
    }
}
