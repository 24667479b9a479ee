//! The configuration language as a JSON Schema (draft-07), for editors that complete and check TOML.
//!
//! It is made from the tables that read a file ([`FileWords::KEYS`]), so it cannot disagree with them. It says less than
//! they do: what text means, and what one key demands of another, is left to `longhaul check`.

use serde_json::{Map, Value, json};

use super::file::FileWords;
use super::shape::{Key, Need, Shape};

/// Numbers and their units, of those that the bounds leave room for.
const DURATION: &str = r"^\s*([0-9]+(\.[0-9]+)?\s*(ns|nsec|nanos|us|µs|usec|ms|msec|millis|s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?|d|days?|w|wks?|weeks?)\s*)+$";
/// A number and its unit, in any case.
const SIZE: &str = r"^[0-9]+(\.[0-9]*)?\s*([kKmMgG][iI]?[bB]?|[bB])$";

/// The schema, with a newline at the end. `config/schema.json` holds it.
pub fn schema() -> String {
    let mut schema = json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "longhaul",
        "description": "The configuration of longhaul. Durations and sizes are strings with units.",
    });
    if let (Value::Object(schema), Value::Object(file)) = (&mut schema, table(FileWords::KEYS)) {
        schema.extend(file);
    }
    // A value that was made here can be written.
    serde_json::to_string_pretty(&schema).unwrap_or_default() + "\n"
}

/// A table, which has no other keys than these.
fn table(keys: &[Key]) -> Value {
    let mut table = json!({ "type": "object", "additionalProperties": false });
    let needed = |need: Need| -> Vec<&str> {
        keys.iter().filter(|key| key.need == need).map(|key| key.name).collect()
    };
    let properties: Map<_, _> = keys.iter().map(|key| (key.name.to_owned(), property(key))).collect();
    table["properties"] = Value::Object(properties);
    let required = needed(Need::Required);
    if !required.is_empty() {
        table["required"] = json!(required);
    }
    let somewhere = needed(Need::Somewhere);
    if !somewhere.is_empty() {
        // Included files may have them instead.
        table["anyOf"] = json!([{ "required": somewhere }, { "required": ["include"] }]);
    }
    table
}

fn property(key: &Key) -> Value {
    let mut property = json!({ "description": key.doc.split_whitespace().collect::<Vec<_>>().join(" ") });
    if let Some(default) = key.default().and_then(|default| value(key.shape, default)) {
        property["default"] = default;
    }
    if let (Value::Object(property), Value::Object(shape)) = (&mut property, of(key.shape)) {
        property.extend(shape);
    }
    property
}

fn of(shape: &Shape) -> Value {
    match shape {
        Shape::Text(_) => json!({ "type": "string", "minLength": 1 }),
        Shape::Switch => json!({ "type": "boolean" }),
        Shape::Number { min, max } => json!({ "type": "integer", "minimum": min, "maximum": max }),
        Shape::Duration { .. } => json!({ "type": "string", "pattern": DURATION }),
        Shape::Size { .. } => json!({ "type": "string", "pattern": SIZE }),
        Shape::Percent { .. } => json!({ "type": "string", "pattern": "^[0-9]+%$" }),
        Shape::Choice(words) => json!({ "type": "string", "enum": words }),
        Shape::Either(shapes) => json!({ "anyOf": shapes.iter().map(|shape| of(shape)).collect::<Vec<_>>() }),
        Shape::List { entry, min } => json!({ "type": "array", "items": of(entry), "minItems": min }),
        Shape::Map { entry, min } => {
            json!({ "type": "object", "additionalProperties": of(entry), "minProperties": min })
        }
        Shape::Table { keys, .. } => table(keys),
    }
}

/// A default as the documentation writes it, as the value that it is.
fn value(shape: &Shape, written: &str) -> Option<Value> {
    match shape {
        Shape::Switch => written.parse::<bool>().ok().map(Value::from),
        Shape::Number { .. } => written.replace(',', "").parse::<u64>().ok().map(Value::from),
        Shape::Choice(words) => words.contains(&written).then(|| written.into()),
        Shape::Either(shapes) => shapes.iter().find_map(|shape| value(shape, written)),
        Shape::List { .. } => (written == "none").then(|| json!([])),
        Shape::Duration { .. } | Shape::Size { .. } | Shape::Percent { .. } => Some(written.into()),
        Shape::Text(_) | Shape::Map { .. } | Shape::Table { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Config;

    const FULL: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/config/full.toml"));
    const MINIMAL: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/config/minimal.toml"));

    #[test]
    fn the_file_holds_the_schema() {
        let written = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/config/schema.json"));
        assert!(written == schema(), "run: longhaul schema > config/schema.json");
    }

    #[test]
    fn the_examples_name_the_schema_and_keep_to_it() {
        let schema: Value = serde_json::from_str(&schema()).unwrap();
        for text in [FULL, MINIMAL] {
            assert!(text.starts_with("#:schema ./schema.json\n"));
            assert_eq!(wrong(&toml::from_str(text).unwrap(), &schema), None);
        }
    }

    #[test]
    fn the_schema_refuses_what_it_can() {
        let schema: Value = serde_json::from_str(&schema()).unwrap();
        let base = "[[listeners]]\nname = \"a\"\naddress = \"[::]:1\"\n[[routes]]\nname = \"a\"\npool = \"a\"\n\
                    [pools.a]\nbackends = [\"a:1\"]\n";
        assert_eq!(wrong(&toml::from_str(base).unwrap(), &schema), None);
        assert_eq!(wrong(&toml::from_str("include = [\"a.toml\"]").unwrap(), &schema), None);
        for (from, to, key) in [
            ("address", "adress", "additionalProperties"),
            ("address = \"[::]:1\"\n", "", "required"),
            ("[[routes]]\nname = \"a\"\npool = \"a\"\n", "", "anyOf"),
            ("[\"a:1\"]", "[]", "minItems"),
            ("[\"a:1\"]", "[{ address = \"a:1\", weight = 0 }]", "anyOf"),
            ("backends", "balance = \"fair\"\nbackends", "anyOf"),
            ("backends", "balance = { load_max = \"off\" }\nbackends", "anyOf"),
            ("pool = \"a\"", "pool = 1", "type"),
            ("address = \"[::]:1\"\n", "address = \"[::]:1\"\n[log]\nformat = \"xml\"\n", "enum"),
        ] {
            let value = toml::from_str(&base.replace(from, to)).unwrap();
            assert_eq!(wrong(&value, &schema), Some(key));
        }
    }

    /// Writing out every default changes nothing, and no default was left out.
    #[test]
    fn defaults_are_what_holds_when_nothing_is_written() {
        let schema: Value = serde_json::from_str(&schema()).unwrap();
        let mut written = 0;
        let mut defaults = |table: &Value| {
            let properties = table["properties"].as_object().unwrap();
            let defaults = properties.iter().filter_map(|(key, property)| {
                let default = property.get("default")?;
                written += 1;
                Some(format!("{key} = {default}"))
            });
            defaults.collect::<Vec<_>>()
        };
        let at = |key: &str| &schema["properties"][key];
        let entry = |table: &str, key: &str| &schema["properties"][table]["items"]["properties"][key];
        let pool = &at("pools")["additionalProperties"];
        let backend = &pool["properties"]["backends"]["items"]["anyOf"][1];
        let parts = [
            ("", defaults(&schema), "\n"),
            ("\nserver = { drain = { DRAIN }, ", defaults(at("server")), ", "),
            (" }\nlimits = { ", defaults(at("limits")), ", "),
            (" }\ntcp = { ", defaults(at("tcp")), ", "),
            (" }\nlog = { ", defaults(at("log")), ", "),
            (
                " }\n[[listeners]]\nname = \"a\"\naddress = \"[::]:1\"\n",
                defaults(&at("listeners")["items"]),
                "\n",
            ),
            (
                "\ntls = { certificates = [{ cert = \"a\", key = \"a\" }], client_certificates = { ca = \"a\", ",
                defaults(&entry("listeners", "tls")["properties"]["client_certificates"]),
                ", ",
            ),
            (" }, ", defaults(entry("listeners", "tls")), ", "),
            (
                " }\n[[routes]]\nname = \"b\"\npath = \"/b\"\nsplit = [{ pool = \"a\", ",
                defaults(&entry("routes", "split")["items"]),
                ", ",
            ),
            (
                " }]\n[[routes]]\nname = \"c\"\npath = \"/c\"\nredirect = { to = \"/\", ",
                defaults(entry("routes", "redirect")),
                ", ",
            ),
            (" }\n[[routes]]\nname = \"a\"\npool = \"a\"\n", defaults(&at("routes")["items"]), "\n"),
            ("\nhandshake_rate = { per_second = 5, ", defaults(entry("routes", "handshake_rate")), ", "),
            (" }\npings = { ", defaults(entry("routes", "pings")), ", "),
            (
                " }\nframes.to_backend = { ",
                defaults(&entry("routes", "frames")["properties"]["to_backend"]),
                ", ",
            ),
            (
                " }\nframes.to_client = { ",
                defaults(&entry("routes", "frames")["properties"]["to_client"]),
                ", ",
            ),
            (
                " }\n[pools.b]\nbackends = [\"b:1\"]\nbalance = { hash = \"path\", ",
                defaults(&pool["properties"]["balance"]["anyOf"][1]),
                ", ",
            ),
            (" }\n[pools.a]\n", defaults(pool), "\n"),
            ("\nsticky = { ", defaults(&pool["properties"]["sticky"]), ", "),
            (" }\nbackends = [{ address = \"a:1\", ", defaults(backend), ", "),
            (" }]\nmax_tunnels = 9\nqueue = { ", defaults(&pool["properties"]["queue"]), ", "),
            (
                " }\nhandshake_rate = { per_second = 5, ",
                defaults(&pool["properties"]["handshake_rate"]),
                ", ",
            ),
            (" }\ntls = { ", defaults(&pool["properties"]["tls"]), ", "),
            (" }\nkeepalive = { ", defaults(&pool["properties"]["keepalive"]["anyOf"][1]), ", "),
            (" }\nhealth = { kind = \"tcp\", ", defaults(&pool["properties"]["health"]), ", "),
            (" }\nejection = { ", defaults(&pool["properties"]["ejection"]), ", "),
            (" }\nretry = { ", defaults(&pool["properties"]["retry"]), ", "),
            (
                " }\n[pools.c]\ndiscovery = { kind = \"dns\", name = \"a\", port = 1, ",
                defaults(&pool["properties"]["discovery"]),
                ", ",
            ),
            (" }\nrebalance = { ", defaults(&pool["properties"]["rebalance"]), ", "),
        ];
        let drain = defaults(&at("server")["properties"]["drain"]).join(", ");
        let config = |write: bool| {
            let mut text = String::new();
            for (before, defaults, glue) in &parts {
                text.push_str(before);
                if write {
                    text.push_str(&defaults.join(glue));
                }
            }
            let text = text.replace("DRAIN", if write { &drain } else { "" }) + " }\n";
            Config::parse("a.toml", &text, Path::new("/")).unwrap_or_else(|problems| panic!("{problems}"))
        };
        assert_eq!(config(true), config(false));
        assert_eq!(written, schema.to_string().matches("\"default\":").count());
        assert!(written > 25);
    }

    /// The first keyword of a schema that a value breaks. Patterns are not checked.
    fn wrong<'s>(value: &Value, schema: &'s Value) -> Option<&'s str> {
        schema.as_object().unwrap().iter().find_map(|(keyword, rule)| {
            let kept = match (keyword.as_str(), value) {
                ("$schema" | "title" | "description" | "default" | "pattern", _) => true,
                ("type", value) => match rule.as_str().unwrap() {
                    "object" => value.is_object(),
                    "array" => value.is_array(),
                    "string" => value.is_string(),
                    "integer" => value.is_u64(),
                    "boolean" => value.is_boolean(),
                    other => panic!("{other}"),
                },
                ("enum", value) => rule.as_array().unwrap().contains(value),
                ("minimum", Value::Number(number)) => number.as_u64() >= rule.as_u64(),
                ("maximum", Value::Number(number)) => number.as_u64() <= rule.as_u64(),
                ("minLength", Value::String(text)) => Some(text.len() as u64) >= rule.as_u64(),
                ("minItems", Value::Array(list)) => Some(list.len() as u64) >= rule.as_u64(),
                ("minProperties", Value::Object(table)) => Some(table.len() as u64) >= rule.as_u64(),
                ("items", Value::Array(list)) => {
                    return list.iter().find_map(|entry| wrong(entry, rule));
                }
                ("required", Value::Object(table)) => {
                    rule.as_array().unwrap().iter().all(|key| table.contains_key(key.as_str().unwrap()))
                }
                ("properties", Value::Object(table)) => {
                    let known = rule.as_object().unwrap();
                    return known.iter().find_map(|(key, rule)| wrong(table.get(key)?, rule));
                }
                ("additionalProperties", Value::Object(table)) => {
                    let known = schema.get("properties");
                    let others =
                        table.iter().filter(|(key, _)| known.is_none_or(|known| known.get(key).is_none()));
                    match rule {
                        Value::Bool(false) => others.count() == 0,
                        rule => return others.map(|(_, value)| value).find_map(|value| wrong(value, rule)),
                    }
                }
                ("anyOf", value) => rule.as_array().unwrap().iter().any(|rule| wrong(value, rule).is_none()),
                (
                    "minimum"
                    | "maximum"
                    | "minLength"
                    | "minItems"
                    | "minProperties"
                    | "items"
                    | "required"
                    | "properties"
                    | "additionalProperties",
                    _,
                ) => true,
                (other, _) => panic!("{other}"),
            };
            (!kept).then_some(keyword.as_str())
        })
    }
}
