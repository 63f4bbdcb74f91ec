//! `$batch`: operations as multipart/mixed, and the answers back out of it. Source: dynamics.md §3.

use uuid::Uuid;

use super::operation::{BatchShape, Condition, Knowing, Method, Operation};

const CRLF: &str = "\r\n";
/// Depth of multipart within multipart that is read: a batch and its change sets.
const NESTING_MAX: usize = 3;

/// A batch as it leaves.
pub(super) struct Batch {
    pub(super) content_type: String,
    pub(super) body: String,
}

/// One answer within a batch.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Part {
    pub(super) content_id: Option<String>,
    pub(super) status: u16,
    /// `OData-EntityId`, else `Location`.
    pub(super) entity_id: Option<String>,
    pub(super) body: String,
}

/// What a batch adds around one operation, in bytes, at most: boundaries, headers, request line.
pub(super) const ENVELOPE_BYTES: usize = 512;

/// Writes the operations as one batch; in a change set, operation `n` (from 0) has the Content-ID `n + 1`.
pub(super) fn batch(operations: &[&Operation], shape: BatchShape, root_path: &str) -> Batch {
    let outer = format!("batch_{}", Uuid::new_v4());
    let inner = format!("changeset_{}", Uuid::new_v4());
    let mut body = String::new();
    let boundary = match shape {
        BatchShape::Independent => &outer,
        BatchShape::ChangeSet => {
            line(&mut body, &format!("--{outer}"));
            line(&mut body, &format!("Content-Type: multipart/mixed; boundary=\"{inner}\""));
            line(&mut body, "");
            &inner
        }
    };
    for (index, operation) in operations.iter().enumerate() {
        line(&mut body, &format!("--{boundary}"));
        line(&mut body, "Content-Type: application/http");
        line(&mut body, "Content-Transfer-Encoding: binary");
        if shape == BatchShape::ChangeSet {
            line(&mut body, &format!("Content-ID: {}", index + 1));
        }
        line(&mut body, "");
        request(&mut body, operation, root_path);
    }
    if shape == BatchShape::ChangeSet {
        line(&mut body, &format!("--{inner}--"));
    }
    line(&mut body, &format!("--{outer}--"));
    Batch { content_type: format!("multipart/mixed; boundary=\"{outer}\""), body }
}

/// Writes reads of these paths as one batch.
pub(super) fn reads<'a>(paths: impl Iterator<Item = &'a str>, root_path: &str) -> Batch {
    let boundary = format!("batch_{}", Uuid::new_v4());
    let mut body = String::new();
    for path in paths {
        line(&mut body, &format!("--{boundary}"));
        line(&mut body, "Content-Type: application/http");
        line(&mut body, "Content-Transfer-Encoding: binary");
        line(&mut body, "");
        line(&mut body, &format!("GET {root_path}{path} HTTP/1.1"));
        line(&mut body, "Accept: application/json");
        line(&mut body, "");
        line(&mut body, "");
    }
    line(&mut body, &format!("--{boundary}--"));
    Batch { content_type: format!("multipart/mixed; boundary=\"{boundary}\""), body }
}

fn request(out: &mut String, operation: &Operation, root_path: &str) {
    let verb = match operation.method {
        Method::Post => "POST",
        Method::Patch => "PATCH",
        Method::Delete => "DELETE",
    };
    match &operation.knowing {
        Knowing::Asked(id) => {
            line(out, &format!("{verb} {root_path}{}?$select={id} HTTP/1.1", operation.path));
            line(out, "Prefer: return=representation");
        }
        Knowing::Fresh | Knowing::There | Knowing::Untold => {
            line(out, &format!("{verb} {root_path}{} HTTP/1.1", operation.path));
        }
    }
    match &operation.condition {
        Condition::Any => {}
        Condition::Exists => line(out, "If-Match: *"),
        Condition::Version(etag) => line(out, &format!("If-Match: {etag}")),
    }
    if let Some(body) = &operation.body {
        line(out, "Content-Type: application/json; type=entry");
        line(out, &format!("Content-Length: {}", body.len()));
        line(out, "");
        line(out, body);
    } else {
        line(out, "");
        line(out, "");
    }
}

fn line(out: &mut String, text: &str) {
    out.push_str(text);
    out.push_str(CRLF);
}

/// The answers in a batch's answer, in their order, those of change sets among them; `None` where it is no multipart.
///
/// A part that the end of the text cuts off is left out: what it said is not known.
pub(super) fn answers(content_type: &str, body: &[u8]) -> Option<Vec<Part>> {
    let text = String::from_utf8_lossy(body);
    let boundary = boundary_of(content_type).or_else(|| boundary_within(&text))?;
    let mut parts = Vec::new();
    collect(&text, &boundary, 0, &mut parts);
    Some(parts)
}

/// `boundary=…` of a Content-Type, quoted or bare.
fn boundary_of(content_type: &str) -> Option<String> {
    if !content_type.trim_start().to_ascii_lowercase().starts_with("multipart/") {
        return None;
    }
    content_type.split(';').skip(1).find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("boundary").then(|| value.trim().trim_matches('"').to_owned())
    })
}

/// The boundary that the text itself begins with, for answers whose Content-Type does not name it.
fn boundary_within(text: &str) -> Option<String> {
    let first = text.lines().map(str::trim).find(|line| !line.is_empty())?;
    let boundary = first.strip_prefix("--")?;
    (boundary.starts_with("batchresponse") || boundary.starts_with("changesetresponse"))
        .then(|| boundary.to_owned())
}

fn collect(text: &str, boundary: &str, depth: usize, parts: &mut Vec<Part>) {
    if depth >= NESTING_MAX {
        return;
    }
    for section in sections(text, boundary) {
        let (headers, content) = head_and_rest(section);
        let content_type = header(headers, "content-type").unwrap_or_default();
        if let Some(inner) = boundary_of(content_type) {
            collect(content, &inner, depth + 1, parts);
        } else if let Some(part) = response(headers, content) {
            parts.push(part);
        }
    }
}

/// What stands between the boundary's lines.
fn sections<'a>(text: &'a str, boundary: &str) -> Vec<&'a str> {
    let delimiter = format!("--{boundary}");
    let mut sections = Vec::new();
    let mut open: Option<usize> = None;
    let mut at = 0;
    for whole_line in text.split_inclusive('\n') {
        let line = whole_line.trim_end();
        let tail = line.strip_prefix(delimiter.as_str());
        if matches!(tail, Some("" | "--")) {
            if let Some(start) = open {
                sections.push(&text[start..at]);
            }
            open = if tail == Some("") { Some(at + whole_line.len()) } else { None };
            if tail == Some("--") {
                break;
            }
        }
        at += whole_line.len();
    }
    sections
}

/// Header lines and what follows the first blank line.
fn head_and_rest(text: &str) -> (&str, &str) {
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        if line.trim().is_empty() && at > 0 {
            return (&text[..at], &text[at + line.len()..]);
        }
        at += line.len();
    }
    (text, "")
}

fn header<'a>(headers: &'a str, name: &str) -> Option<&'a str> {
    headers.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.trim().eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// The HTTP answer within a part. The Content-ID is a header of the part or, from some servers, of the answer.
fn response(part_headers: &str, content: &str) -> Option<Part> {
    let content = content.trim_start();
    let (head, body) = head_and_rest(content);
    let status_line = head.lines().next()?;
    let status = status_line.strip_prefix("HTTP/")?.split_whitespace().nth(1)?.parse().ok()?;
    let content_id = header(part_headers, "content-id").or_else(|| header(head, "content-id"));
    let entity_id = header(head, "odata-entityid").or_else(|| header(head, "location"));
    Some(Part {
        content_id: content_id.map(str::to_owned),
        status,
        entity_id: entity_id.map(str::to_owned),
        body: body.trim().to_owned(),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
