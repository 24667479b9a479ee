//! Texts with variables, `${client.address}` and the like, parsed once.

use std::fmt;

use super::problem::nearest;

/// The most variables in one text: each may be as long as a request's target.
pub const VARIABLES_MAX: usize = 16;

/// A text in which variables stand for what a request has. `$${` is `${`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

/// A part of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// As it is written; not empty.
    Text(String),
    /// What the request has.
    Variable(Variable),
}

/// What a request has, or its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variable {
    /// The address of the client, by the one rule; nothing for a process of this machine.
    ClientAddress,
    /// The port of the client, if it is known.
    ClientPort,
    /// The name of the listener.
    Listener,
    /// The name of the route.
    Route,
    /// The name of the request in records.
    RequestId,
    /// `https` where the client's connection is TLS, else `http`.
    Scheme,
    /// The host without its port, lower case; an IPv6 address in brackets.
    Host,
    /// The host as the client wrote it, and the port if it wrote one.
    Authority,
    /// The method; GET for a WebSocket.
    Method,
    /// The path as it goes on, with the beginning that the route gives it.
    Path,
    /// The query with its `?`; nothing when there is none.
    Query,
    /// The version of TLS, `1.2` or `1.3`; nothing in plain text.
    TlsVersion,
    /// The subject of the client's certificate; nothing when none was shown.
    TlsSubject,
    /// The alternative names of the client's certificate; nothing when none was shown.
    TlsNames,
}

/// Why a text is no template.
#[derive(Debug, PartialEq, Eq)]
pub struct Fault {
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub remedy: String,
}

impl Variable {
    /// All of them, with the names by which they are written.
    const NAMES: [(&'static str, Self); 14] = [
        ("client.address", Self::ClientAddress),
        ("client.port", Self::ClientPort),
        ("listener", Self::Listener),
        ("route", Self::Route),
        ("request.id", Self::RequestId),
        ("scheme", Self::Scheme),
        ("host", Self::Host),
        ("authority", Self::Authority),
        ("method", Self::Method),
        ("path", Self::Path),
        ("query", Self::Query),
        ("tls.version", Self::TlsVersion),
        ("tls.client.subject", Self::TlsSubject),
        ("tls.client.names", Self::TlsNames),
    ];

    /// As it is written between the braces.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, variable)| *variable == self).map_or("", |(name, _)| *name)
    }
}

impl Template {
    /// Reads a template in which `is_known` variables may stand.
    ///
    /// # Errors
    /// What is not ended, not a variable, or not known in this place; more than 16 variables.
    pub fn parse(text: &str, is_known: impl Fn(Variable) -> bool) -> Result<Self, Fault> {
        let mut template = Self::default();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            if let Some(before) = before.strip_suffix('$') {
                template.push(before);
                template.push("${");
                rest = after;
                continue;
            }
            template.push(before);
            let Some((name, after)) = after.split_once('}') else {
                return Err(Fault {
                    message: "a `${` has no `}` behind it".to_owned(),
                    remedy: "write a variable such as ${client.address}, or $${ for the text ${".to_owned(),
                });
            };
            template.parts.push(Part::Variable(variable(name, &is_known)?));
            rest = after;
        }
        let is_variable = |part: &&Part| matches!(part, Part::Variable(_));
        if template.parts.iter().filter(is_variable).count() > VARIABLES_MAX {
            let message = format!("there are more than {VARIABLES_MAX} variables in this text");
            return Err(Fault { message, remedy: "make several of it".to_owned() });
        }
        template.push(rest);
        Ok(template)
    }

    /// Its parts, in their order.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The texts between variables.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Text(text) => Some(text.as_str()),
            Part::Variable(_) => None,
        })
    }

    fn push(&mut self, text: &str) {
        match self.parts.last_mut() {
            _ if text.is_empty() => {}
            Some(Part::Text(before)) => before.push_str(text),
            _ => self.parts.push(Part::Text(text.to_owned())),
        }
    }
}

fn variable(name: &str, is_known: &impl Fn(Variable) -> bool) -> Result<Variable, Fault> {
    let known = || Variable::NAMES.iter().filter(|(_, variable)| is_known(*variable)).map(|(name, _)| *name);
    let found = Variable::NAMES.iter().find(|(other, _)| *other == name);
    match found {
        Some((_, variable)) if is_known(*variable) => return Ok(*variable),
        _ => {}
    }
    let name = super::problem::shown(name);
    let what = if found.is_some() { "is not to be had here" } else { "is no variable" };
    let remedy = match nearest(&name, known()).filter(|_| found.is_none()) {
        Some(near) => format!("did you mean `${{{near}}}`?"),
        None => {
            let known: Vec<_> = known().map(|name| format!("${{{name}}}")).collect();
            format!("there are {}", known.join(", "))
        }
    };
    Err(Fault { message: format!("`${{{name}}}` {what}"), remedy })
}

/// As it is written in a configuration.
impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parts.iter().try_for_each(|part| match part {
            Part::Text(text) => f.write_str(&text.replace("${", "$${")),
            Part::Variable(variable) => write!(f, "${{{}}}", variable.name()),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(_: Variable) -> bool {
        true
    }

    #[test]
    fn texts_and_variables_are_told_apart() {
        let text = |text: &str| Part::Text(text.to_owned());
        for (written, parts) in [
            ("", vec![]),
            ("a $ b { c } $", vec![text("a $ b { c } $")]),
            ("${host}", vec![Part::Variable(Variable::Host)]),
            (
                "https://${host}${path}/x",
                vec![
                    text("https://"),
                    Part::Variable(Variable::Host),
                    Part::Variable(Variable::Path),
                    text("/x"),
                ],
            ),
            ("$${host}", vec![text("${host}")]),
            ("$$${host}", vec![text("$${host}")]),
            ("$ ${host}$", vec![text("$ "), Part::Variable(Variable::Host), text("$")]),
        ] {
            assert_eq!(Template::parse(written, all).unwrap().parts(), parts, "{written}");
        }
    }

    #[test]
    fn what_is_no_variable_is_named() {
        let fault = |text: &str| Template::parse(text, |known| known == Variable::Host).unwrap_err();
        let said = |text: &str| (fault(text).message, fault(text).remedy);
        let owned = |message: &str, remedy: &str| (message.to_owned(), remedy.to_owned());
        assert_eq!(said("${hots}"), owned("`${hots}` is no variable", "did you mean `${host}`?"));
        assert_eq!(said("${}"), owned("`${}` is no variable", "there are ${host}"));
        assert_eq!(said("${path}"), owned("`${path}` is not to be had here", "there are ${host}"));
        assert_eq!(fault("a${host").message, "a `${` has no `}` behind it");
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_again(text in "(\\$|\\{|\\}|host|\\$\\{host\\}|\\$\\{path\\}| |a){0,12}") {
            if let Ok(template) = Template::parse(&text, all) {
                prop_assert_eq!(Template::parse(&template.to_string(), all).unwrap(), template);
            }
        }
    }
}
