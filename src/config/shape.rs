//! A tree against the JSON Schema of what it should be: every unknown key, wrong type and value out of range, at its place.
//!
//! Only the keywords that our own types produce are known; `schema_keywords_are_all_understood` holds that to be enough.

use serde_json::Value;

use super::fault::{Document, Fault, JsonPath, Problem};
use super::json::{Json, Member, Node, shortened};
use crate::domain::near::did_you_mean;

/// A schema, and keys that deserve a sentence of their own when somebody tries them.
pub(super) struct Shape {
    schema: Value,
    strangers: &'static [(&'static str, &'static str)],
}

impl Shape {
    pub fn of<T: schemars::JsonSchema>(strangers: &'static [(&'static str, &'static str)]) -> Self {
        Shape { schema: schemars::schema_for!(T).to_value(), strangers }
    }

    /// The keys at the top.
    pub fn keys(&self) -> Vec<&str> {
        let properties = self.schema.get("properties").and_then(Value::as_object);
        properties.into_iter().flat_map(|properties| properties.keys().map(String::as_str)).collect()
    }

    /// The value at `node` without its faulty parts, so that what is left can be checked further; `None` if nothing is.
    pub fn check(
        &self,
        document: &Document,
        node: &Node,
        path: &JsonPath,
        faults: &mut Vec<Fault>,
    ) -> Option<Value> {
        Check { shape: self, document, faults }.value(&self.schema, node, path)
    }
}

struct Check<'c> {
    shape: &'c Shape,
    document: &'c Document,
    faults: &'c mut Vec<Fault>,
}

impl<'c> Check<'c> {
    fn value(&mut self, schema: &'c Value, node: &Node, path: &JsonPath) -> Option<Value> {
        let alternatives = self.alternatives(schema);
        let Some(schema) = alternatives.iter().copied().find(|schema| takes(schema, &node.json)) else {
            let expected: Vec<String> =
                alternatives.iter().filter_map(|schema| self.description(schema)).collect();
            let advice = match &node.json {
                Json::Text(text) => unquoted(&alternatives, text),
                _ => String::new(),
            };
            return self.wrong(path, &expected.join(", or "), node, &advice);
        };
        match &node.json {
            Json::Null => Some(Value::Null),
            Json::Bool(truth) => Some(Value::Bool(*truth)),
            Json::Number(number) => {
                let whole = number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from));
                let bound = |name: &str| schema.get(name).and_then(Value::as_i64).map(i128::from);
                let low = bound("minimum").unwrap_or(i128::from(i64::MIN));
                let high = bound("maximum").unwrap_or(i128::from(i64::MAX));
                match whole {
                    Some(whole) if (low..=high).contains(&whole) => Some(Value::Number(number.clone())),
                    _ => self.described(path, schema, node),
                }
            }
            Json::Text(text) => self.text(schema, text, node, path),
            Json::List(items) => {
                let least = schema.get("minItems").and_then(Value::as_u64).unwrap_or_default();
                if (items.len() as u64) < least {
                    return self.wrong(path, "at least one item", node, "");
                }
                let item = &schema["items"];
                let values: Vec<Option<Value>> = items
                    .iter()
                    .enumerate()
                    .map(|(index, node)| self.value(item, node, &path.index(index)))
                    .collect();
                values.into_iter().collect()
            }
            Json::Object(members) => self.object(schema, members, path),
        }
    }

    fn text(&mut self, schema: &'c Value, text: &str, node: &Node, path: &JsonPath) -> Option<Value> {
        let words = words(schema);
        if !words.is_empty() {
            if words.contains(&text) {
                return Some(Value::from(text));
            }
            let near = did_you_mean(text, words);
            let expected = self.description(schema).unwrap_or_default();
            return self.wrong(path, &expected, node, near.trim_start_matches("; "));
        }
        let length = |name: &str| schema.get(name).and_then(Value::as_u64);
        if length("minLength").is_some() && text.trim().is_empty() {
            return self.wrong(path, "a text that is not empty", node, "");
        }
        if length("maxLength").is_some_and(|most| text.chars().count() as u64 > most) {
            return self.described(path, schema, node);
        }
        Some(Value::from(text))
    }

    fn object(&mut self, schema: &'c Value, members: &[Member], path: &JsonPath) -> Option<Value> {
        let properties = schema.get("properties").and_then(Value::as_object);
        let others = schema.get("additionalProperties").filter(|others| others.is_object());
        let mut map = serde_json::Map::new();
        let mut seen: Vec<&Member> = Vec::new();
        for member in members {
            let path = path.key(&member.key);
            if let Some(first) = seen.iter().find(|first| first.key == member.key) {
                let first_line = first.key_at.line;
                self.at_key(member, &path, Problem::DuplicateKey { name: path.in_words(), first_line });
                continue;
            }
            seen.push(member);
            match properties.and_then(|properties| properties.get(&member.key)).or(others) {
                Some(schema) => {
                    if let Some(value) = self.value(schema, &member.node, &path) {
                        map.insert(member.key.clone(), value);
                    }
                }
                None => {
                    let known: Vec<&str> =
                        properties.into_iter().flat_map(|p| p.keys().map(String::as_str)).collect();
                    let advice = self.advice_on(&member.key, known);
                    self.at_key(member, &path, Problem::UnknownKey { name: path.in_words(), advice });
                }
            }
        }
        let required = schema.get("required").and_then(Value::as_array);
        let mut whole = true;
        for key in required.into_iter().flatten().filter_map(Value::as_str) {
            if !seen.iter().any(|member| member.key == key) {
                let schema = properties.and_then(|properties| properties.get(key));
                let expected = schema.and_then(|schema| self.description(schema)).unwrap_or_default();
                self.faults.push(self.document.missing(&path.key(key), &expected));
            }
            whole &= map.contains_key(key);
        }
        // A part without what it requires cannot be checked further; at the top the parts stand alone.
        (whole || *path == JsonPath::default()).then_some(Value::Object(map))
    }

    fn advice_on(&self, key: &str, known: Vec<&str>) -> String {
        if let Some((_, sentence)) = self.shape.strangers.iter().find(|(stranger, _)| *stranger == key) {
            return format!("; {sentence}");
        }
        let near = did_you_mean(key, known.iter().copied());
        if near.is_empty() { format!("; the keys here are {}", listed(&known, "and")) } else { near }
    }

    fn described(&mut self, path: &JsonPath, schema: &'c Value, node: &Node) -> Option<Value> {
        let expected = self.description(schema).unwrap_or_default();
        self.wrong(path, &expected, node, "")
    }

    fn wrong(&mut self, path: &JsonPath, expected: &str, node: &Node, advice: &str) -> Option<Value> {
        self.faults.push(self.document.wrong(path, expected, &found(&node.json, path), advice));
        None
    }

    /// A fault that stands at the key, not at its value.
    fn at_key(&mut self, member: &Member, path: &JsonPath, problem: Problem) {
        let fault = self.document.fault(path, problem);
        self.faults.push(Fault { at: Some(member.key_at), ..fault });
    }

    /// The schemas one of which must fit: references followed, choices taken apart.
    fn alternatives(&self, schema: &'c Value) -> Vec<&'c Value> {
        if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
            let target = self.shape.schema.pointer(reference.trim_start_matches('#'));
            return target.map(|target| self.alternatives(target)).unwrap_or_default();
        }
        match schema.get("anyOf").and_then(Value::as_array) {
            Some(several) => several.iter().flat_map(|one| self.alternatives(one)).collect(),
            None => vec![schema],
        }
    }

    /// What a schema takes, as a sentence goes on after "expected"; nothing for `null`.
    fn description(&self, schema: &'c Value) -> Option<String> {
        let alternatives = self.alternatives(schema);
        if alternatives.len() > 1 {
            let several: Vec<String> = alternatives.iter().filter_map(|one| self.description(one)).collect();
            return Some(several.join(", or "));
        }
        let schema = *alternatives.first()?;
        let words = words(schema);
        if !words.is_empty() {
            return Some(listed(&words, "or"));
        }
        let bound = |name: &str| schema.get(name).and_then(Value::as_i64);
        let text = match types(schema).into_iter().find(|name| *name != "null")? {
            "boolean" => "`true` or `false`".to_owned(),
            "integer" => match (bound("minimum"), bound("maximum")) {
                (Some(low), Some(high)) => format!("a whole number from {low} to {high}"),
                _ => "a whole number".to_owned(),
            },
            "string" => match bound("maxLength") {
                Some(most) => format!("a text of at most {most} characters"),
                None => "a text".to_owned(),
            },
            "array" => "a list of texts".to_owned(),
            _ => "an object `{…}`".to_owned(),
        };
        Some(text)
    }
}

/// The way out for a number or a truth value that was written as a text.
fn unquoted(alternatives: &[&Value], text: &str) -> String {
    let text = text.trim().to_lowercase();
    let fits = match serde_json::from_str::<Value>(&text) {
        Ok(Value::Bool(_)) => "boolean",
        Ok(Value::Number(_)) => "integer",
        _ => return String::new(),
    };
    let fits = alternatives.iter().any(|schema| types(schema).contains(&fits));
    if fits { format!("write `{text}`, without quotes") } else { String::new() }
}

/// The JSON types that a schema names.
fn types(schema: &Value) -> Vec<&str> {
    match schema.get("type") {
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
        Some(Value::String(one)) => vec![one],
        _ if schema.get("oneOf").is_some() => vec!["string"],
        _ => Vec::new(),
    }
}

/// The words that a schema allows, if it is a choice of words.
fn words(schema: &Value) -> Vec<&str> {
    if let Some(words) = schema.get("enum").and_then(Value::as_array) {
        return words.iter().filter_map(Value::as_str).collect();
    }
    let several = schema.get("oneOf").and_then(Value::as_array);
    several.into_iter().flatten().filter_map(|one| one.get("const").and_then(Value::as_str)).collect()
}

fn takes(schema: &Value, json: &Json) -> bool {
    let name = match json {
        Json::Null => "null",
        Json::Bool(_) => "boolean",
        Json::Number(_) => "integer",
        Json::Text(_) => "string",
        Json::List(_) => "array",
        Json::Object(_) => "object",
    };
    types(schema).contains(&name)
}

/// `a`, `b` or `c`.
pub(super) fn listed(names: &[&str], joint: &str) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} {joint} {last}", others.join(", ")),
        None => "none".to_owned(),
    }
}

/// A value as a message may show it: what might be a secret is described, not shown.
fn found(json: &Json, path: &JsonPath) -> String {
    match json {
        Json::Null => "`null`".to_owned(),
        Json::Bool(truth) => format!("`{truth}`"),
        Json::Number(_) if path.is_delicate() => "a number".to_owned(),
        Json::Number(number) => format!("`{number}`"),
        Json::Text(text) => found_text(text, path),
        Json::List(items) if items.is_empty() => "an empty list".to_owned(),
        Json::List(_) => "a list".to_owned(),
        Json::Object(_) => "an object".to_owned(),
    }
}

/// The same of a text.
pub(super) fn found_text(text: &str, path: &JsonPath) -> String {
    if text.trim().is_empty() {
        "an empty text".to_owned()
    } else if path.is_delicate() {
        concealed(text)
    } else {
        format!("the text `{}`", shortened(text))
    }
}

/// What can be said of a text that nobody may read.
pub(super) fn concealed(text: &str) -> String {
    format!("a text of {} characters that is not shown", text.chars().count())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::{raw::RawSettings, raw_sidecar::RawSidecar};
    use super::*;

    fn keywords(schema: &Value, inside_properties: bool, into: &mut Vec<String>) {
        let Value::Object(map) = schema else { return };
        for (key, value) in map {
            if !inside_properties {
                into.push(key.clone());
            }
            let names = !inside_properties && matches!(key.as_str(), "properties" | "$defs");
            match value {
                Value::Array(items) => items.iter().for_each(|item| keywords(item, false, into)),
                _ if matches!(key.as_str(), "default" | "if" | "else") && !inside_properties => {}
                _ => keywords(value, names, into),
            }
        }
    }

    #[test]
    fn schema_keywords_are_all_understood() {
        // `if`/`else` repeat for editors what target.rs checks; `pattern` what settings.rs checks of database names.
        let known = [
            "$schema",
            "title",
            "description",
            "default",
            "type",
            "properties",
            "additionalProperties",
            "required",
            "$defs",
            "$ref",
            "anyOf",
            "oneOf",
            "enum",
            "const",
            "items",
            "minItems",
            "minLength",
            "maxLength",
            "minimum",
            "maximum",
            "format",
            "pattern",
            "if",
            "else",
            "minProperties",
        ];
        let mut found = Vec::new();
        keywords(&Shape::of::<RawSettings>(&[]).schema, false, &mut found);
        keywords(&Shape::of::<RawSidecar>(&[]).schema, false, &mut found);
        let strange: Vec<&String> = found.iter().filter(|name| !known.contains(&name.as_str())).collect();
        assert!(strange.is_empty(), "{strange:?}");
    }

    fn faults(text: &str) -> Vec<String> {
        let document = Document::read("s.json", text.as_bytes(), 10_000).unwrap();
        let mut faults = Vec::new();
        Shape::of::<RawSidecar>(&[("entity", "it is called `target_entity`")]).check(
            &document,
            &document.root,
            &JsonPath::default(),
            &mut faults,
        );
        faults.iter().map(|fault| fault.to_string().replace("s.json: line 1, column ", "")).collect()
    }

    #[test]
    fn each_wrong_value_is_told_with_what_was_expected() {
        for (text, wanted) in [
            (r#"{"overwrit": true}"#, "2: unknown key `overwrit`; did you mean `overwrite`?"),
            (r#"{"entity": "x"}"#, "2: unknown key `entity`; it is called `target_entity`"),
            (
                r#"{"overwrite": "true"}"#,
                "15: `overwrite`: expected `true` or `false`, found the text `true`; write `true`, without quotes",
            ),
            (
                r#"{"mode": "upsrt"}"#,
                "10: `mode`: expected `insert`, `upsert`, `update`, `delete` or `edit`, found the text `upsrt`; did you mean `upsert`?",
            ),
            (r#"{"batch_size": 0}"#, "16: `batch_size`: expected a whole number from 1 to 1000, found `0`"),
            (r#"{"batch_size": -3}"#, "16: `batch_size`: expected a whole number from 1 to 1000, found `-3`"),
            (
                r#"{"batch_size": 1.5}"#,
                "16: `batch_size`: expected a whole number from 1 to 1000, found `1.5`",
            ),
            (
                r#"{"order": 99999999999999999999}"#,
                "11: `order`: expected a whole number from -1000000 to 1000000, found `1e+20`",
            ),
            (
                r#"{"order": 18446744073709551615}"#,
                "11: `order`: expected a whole number from -1000000 to 1000000, found `18446744073709551615`",
            ),
            (r#"{"key": 5}"#, "9: `key`: expected a text, or a list of texts, found `5`"),
            (r#"{"key": []}"#, "9: `key`: expected at least one item, found an empty list"),
            (r#"{"key": ["a", 7]}"#, "15: `key`, item 2: expected a text, found `7`"),
            (
                r#"{"target_entity": " "}"#,
                "19: `target_entity`: expected a text that is not empty, found an empty text",
            ),
            (
                r#"{"sheets": {"A": {"kex": 1}}}"#,
                "19: unknown key `kex` in `sheets` → `A`; did you mean `key`?",
            ),
            (
                r#"{"lookups": {"A": 1}}"#,
                "19: `A` in `lookups`: expected a text, or an object `{…}`, found `1`",
            ),
            (
                r#"{"lookups": {"A": {"entity": "x"}}}"#,
                "19: `column` in `lookups` → `A` is missing; expected a text",
            ),
            (r#"{"atomic": true, "atomic": false}"#, "18: `atomic` is set twice; it stands first on line 1"),
        ] {
            assert_eq!(faults(text), [wanted], "{text}");
        }
    }

    #[test]
    fn every_fault_is_told_at_once_and_null_is_as_good_as_nothing() {
        assert_eq!(faults(r#"{"mode": null, "key": null, "sheets": null, "atomic": null}"#), [""; 0]);
        assert_eq!(faults(r#"{"mod": 1, "blank": 2, "workers": 99, "columns": {"a": 1}}"#).len(), 4);
    }
}
