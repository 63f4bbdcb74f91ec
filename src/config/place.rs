//! Folders and addresses: what a person writes → absolute paths and URLs that cannot be mistaken.

use std::net::SocketAddr;
use std::path::{Component, Path, PathBuf};

use super::audit::Audit;
use super::fault::JsonPath;
use super::shape::concealed;

/// Kinds of storage a lakehouse can lie in beside a folder.
const LAKEHOUSE_SCHEMES: [&str; 2] = ["s3", "abfss"];

/// Where Delta tables live.
pub(super) enum Lakehouse {
    Folder(PathBuf),
    Url(String),
}

/// A folder or file of this machine; relative ones start at `base`.
pub(super) fn path(audit: &mut Audit<'_>, at: &JsonPath, text: &str, base: &Path) -> Option<PathBuf> {
    path_or(audit, at, text, base, "a path on this machine")
}

fn path_or(audit: &mut Audit<'_>, at: &JsonPath, text: &str, base: &Path, expected: &str) -> Option<PathBuf> {
    if let Some((scheme, _)) = text.split_once(":/") {
        let advice = match scheme {
            "dbfs" => {
                "`dbfs:` exists only inside Databricks; a lakehouse there has an `abfss://` or `s3://` URL"
            }
            _ if scheme.len() == 1 => {
                "this is a path of Windows; mount the share here and give the mounted folder"
            }
            _ => "",
        };
        return audit.wrong(at, expected, text, advice);
    }
    if text.starts_with("\\\\") || text.get(1..3) == Some(":\\") {
        let advice = "this is a path of Windows; mount the share here and give the mounted folder";
        return audit.wrong(at, expected, text, advice);
    }
    if text == "~" || text.starts_with("~/") || text.contains("${") {
        return audit.wrong(at, expected, text, "`~` and variables are not filled in; write the path out");
    }
    if text.contains('\0') || text.trim() != text {
        return audit.wrong(at, expected, text, "it begins or ends with a blank, or holds a zero character");
    }
    Some(normal(&base.join(text)))
}

/// A folder of this machine or the URL of a store in the cloud.
pub(super) fn lakehouse(audit: &mut Audit<'_>, at: &JsonPath, text: &str, base: &Path) -> Option<Lakehouse> {
    let expected = "a folder, or an `s3://` or `abfss://` URL";
    let Some((scheme, _)) = text.split_once("://") else {
        return path_or(audit, at, text, base, expected).map(Lakehouse::Folder);
    };
    let Ok(url) = url::Url::parse(text) else {
        return audit.wrong_as(at, expected, &concealed(text), "");
    };
    let container = url.username();
    if url.password().is_some() || url.query().is_some() || (scheme != "abfss" && !container.is_empty()) {
        let advice =
            "keys and tokens of the store belong in the environment of the service, not in this file";
        return audit.wrong_as(at, "a URL without keys and tokens", &concealed(text), advice);
    }
    if scheme == "file" {
        return match url.to_file_path() {
            Ok(path) => Some(Lakehouse::Folder(normal(&path))),
            Err(()) => audit.wrong(at, expected, text, "`file://` is followed by an absolute path"),
        };
    }
    if !LAKEHOUSE_SCHEMES.contains(&scheme) {
        let advice = crate::domain::near::did_you_mean(scheme, LAKEHOUSE_SCHEMES);
        return audit.wrong(at, expected, text, advice.trim_start_matches("; "));
    }
    if url.host_str().is_none_or(str::is_empty) {
        return audit.wrong(at, expected, text, "the bucket or account is missing");
    }
    Some(Lakehouse::Url(text.trim_end_matches('/').to_owned()))
}

/// An address and port to listen on.
pub(super) fn listen(audit: &mut Audit<'_>, at: &JsonPath, text: &str) -> Option<SocketAddr> {
    let expected = "an address and a port such as `127.0.0.1:8787`";
    match text.parse() {
        Ok(address) => Some(address),
        Err(_) => {
            let advice = match text.split_once(':') {
                Some(("localhost", _)) => "write `127.0.0.1` for `localhost`",
                Some(("" | "*", _)) => "write `0.0.0.0` for every address of this machine",
                None if text.parse::<std::net::IpAddr>().is_ok() => "the port is missing",
                _ => "",
            };
            audit.wrong(at, expected, text, advice)
        }
    }
}

/// Refuses folders that lie in one another: what one owns, the other would watch, move or delete.
pub(super) fn apart(audit: &mut Audit<'_>, folders: &[(JsonPath, &Path)]) {
    let real: Vec<PathBuf> = folders.iter().map(|(_, folder)| real(folder)).collect();
    for (later, (at, folder)) in folders.iter().enumerate() {
        for earlier in 0..later {
            let (other_at, other) = &folders[earlier];
            let relation = if real[later] == real[earlier] {
                "is the same folder as"
            } else if real[later].starts_with(&real[earlier]) {
                "lies inside"
            } else if real[earlier].starts_with(&real[later]) {
                "contains"
            } else {
                continue;
            };
            let sentence = format!(
                "{} (`{}`) {relation} {} (`{}`); put them beside each other",
                at.in_words(),
                folder.display(),
                other_at.in_words(),
                other.display()
            );
            audit.contradiction::<()>(at, sentence);
        }
    }
}

/// Whether a path lies in a folder, symbolic links followed.
pub(super) fn inside(path: &Path, folder: &Path) -> bool {
    real(path).starts_with(real(folder))
}

/// The path without `.` and `..`, by its words alone.
pub(super) fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                normal.pop();
            }
            Component::Prefix(_) | Component::RootDir | Component::Normal(_) => normal.push(part),
        }
    }
    normal
}

/// The path with the symbolic links of the part that exists followed.
fn real(path: &Path) -> PathBuf {
    for ancestor in path.ancestors() {
        if let (Ok(found), Ok(rest)) = (ancestor.canonicalize(), path.strip_prefix(ancestor)) {
            return found.join(rest);
        }
    }
    path.to_owned()
}
