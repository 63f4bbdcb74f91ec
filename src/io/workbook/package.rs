//! Data packages of Finance & Operations: a zip with a manifest that names its entities, and one workbook for each.
//!
//! The package that Microsoft publishes (`corpus/origin.tsv`, FO-package) has `Manifest.xml` and `PackageHeader.xml` in
//! UTF-16, and its workbooks beside them.

use std::fs::File;
use std::io::{BufReader, Read, Write};

use encoding_rs::{UTF_8, UTF_16BE, UTF_16LE};
use quick_xml::escape::resolve_xml_entity;
use quick_xml::events::Event;
use serde::{Deserialize, Serialize};
use zip::ZipArchive;

use super::fault::ReadFault;
use super::frames;
use super::sheet::pipe;
use super::xlsx::{broken_zip, xml};
use crate::domain::job::PARTS_MAX;

/// The part that names the entities.
pub(super) const MANIFEST: &str = "manifest.xml";
/// Bytes of a manifest; one with the field maps of 500 entities has some 40 MB in UTF-16.
const MANIFEST_BYTES_MAX: u64 = 128 << 20;
/// Entities of one package; templates of Microsoft's own have a few hundred.
const ENTITIES_MAX: usize = 4_096;
/// Names that a sentence lists.
const LISTED_MAX: usize = 20;
/// Bytes of one frame of an unpacked file.
const PIECE_BYTES: usize = 1 << 20;

/// What a data package holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataPackage {
    /// The entities that are to be loaded, in the order of their execution units, levels and sequences.
    pub entities: Vec<PackageEntity>,
}

/// One entity of a data package.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackageEntity {
    /// Its name in the manifest, `Fixed asset major type`.
    pub entity: String,
    /// The file that holds its rows.
    pub file: String,
}

impl PackageEntity {
    /// Whether a sender means this entity: by its name, its file, or the file without its ending.
    pub fn is_called(&self, name: &str) -> bool {
        let folded = |text: &str| text.trim().to_lowercase();
        let stem = self.file.rsplit_once('.').map_or(self.file.as_str(), |(stem, _)| stem);
        [self.entity.as_str(), &self.file, stem].iter().any(|own| folded(own) == folded(name))
    }
}

/// An entity's place in the order of the manifest.
type Turn = (u32, u32, u32);

/// Reads the manifest of a package.
///
/// # Errors
/// When it is damaged, or names no entity with a file.
pub(super) fn read_manifest(file: &File) -> Result<DataPackage, ReadFault> {
    let mut zip = ZipArchive::new(BufReader::new(file)).map_err(broken_zip)?;
    let mut bytes = Vec::new();
    part(&mut zip, MANIFEST)?.take(MANIFEST_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MANIFEST_BYTES_MAX {
        return Err(ReadFault::BeyondBounds {
            detail: format!(
                "its manifest has more than {MANIFEST_BYTES_MAX} bytes; export fewer entities at once"
            ),
        });
    }
    let mut entities = entities(&decoded(&bytes))?;
    entities.sort_by_key(|(turn, _)| *turn);
    let entities: Vec<_> = entities.into_iter().map(|(_, entity)| entity).collect();
    match entities.is_empty() {
        true => {
            Err(ReadFault::damaged("the manifest of the data package names no entity with a file".to_owned()))
        }
        false => Ok(DataPackage { entities }),
    }
}

/// A manifest is UTF-16 where Finance & Operations wrote it, UTF-8 where tools did.
fn decoded(bytes: &[u8]) -> String {
    let encoding = match bytes {
        [0xFF, 0xFE, ..] | [b'<', 0, ..] => UTF_16LE,
        [0xFE, 0xFF, ..] | [0, b'<', ..] => UTF_16BE,
        _ => UTF_8,
    };
    encoding.decode(bytes).0.into_owned()
}

fn entities(manifest: &str) -> Result<Vec<(Turn, PackageEntity)>, ReadFault> {
    const ENTITY: &str = "DataManagementPackageEntityData";
    let mut reader = xml::reader(manifest.as_bytes());
    let mut buffer = Vec::new();
    let mut found = Vec::new();
    // How deep we stand within an entity, and which of its own elements that is in.
    let (mut depth, mut within) = (0_usize, String::new());
    let (mut turn, mut entity, mut disabled): (Turn, PackageEntity, bool) = Default::default();
    loop {
        buffer.clear();
        match reader.read_event_into(&mut buffer).map_err(|e| xml::broken("Manifest.xml", e))? {
            Event::Start(element) => match (depth, element.local_name().as_ref()) {
                (0, ENTITY) => {
                    (turn, entity, disabled) = Default::default();
                    depth = 1;
                }
                (0, _) => {}
                (_, name) => {
                    depth += 1;
                    if depth == 2 {
                        within = name.to_owned();
                    }
                }
            },
            Event::Text(text) if depth == 2 => {
                take(&within, &text.xml10_content(), &mut turn, &mut entity, &mut disabled);
            }
            Event::GeneralRef(reference) if depth == 2 => {
                let known = resolve_xml_entity(reference.as_ref()).map(str::to_owned);
                let text = known.or_else(|| Some(reference.resolve_char_ref().ok()??.to_string()));
                take(&within, &text.unwrap_or_default(), &mut turn, &mut entity, &mut disabled);
            }
            Event::End(_) if depth > 0 => {
                depth -= 1;
                if depth == 0 && !disabled && !entity.file.is_empty() {
                    if found.len() == ENTITIES_MAX {
                        return Err(ReadFault::BeyondBounds {
                            detail: format!("its manifest names more than {ENTITIES_MAX} entities; split it"),
                        });
                    }
                    let file = entity.file.rsplit(['\\', '/']).next().unwrap_or_default().trim().to_owned();
                    let named = if entity.entity.trim().is_empty() { &file } else { &entity.entity };
                    found.push((turn, PackageEntity { entity: named.trim().to_owned(), file }));
                }
            }
            Event::Eof => return Ok(found),
            _ => {}
        }
    }
}

/// Takes a piece of text of one of an entity's own elements.
fn take(within: &str, text: &str, turn: &mut Turn, entity: &mut PackageEntity, disabled: &mut bool) {
    let number = || text.trim().parse().unwrap_or(0);
    match within {
        "EntityName" => entity.entity.push_str(text),
        "InputFilePath" => entity.file.push_str(text),
        "ExecutionUnit" => turn.0 = number(),
        "LevelInExecutionUnit" => turn.1 = number(),
        "SequenceInLevel" => turn.2 = number(),
        "Disable" => *disabled = matches!(text.trim(), "true" | "1" | "Yes"),
        _ => {}
    }
}

/// Writes a file of the package as frames.
///
/// # Errors
/// When the package has no such file, or it is damaged.
pub(super) fn unpack(file: &File, wanted: &str, out: &mut impl Write) -> Result<(), ReadFault> {
    let mut zip = ZipArchive::new(BufReader::new(file)).map_err(broken_zip)?;
    let mut unpacked = part(&mut zip, wanted)?;
    let mut piece = Vec::with_capacity(PIECE_BYTES);
    loop {
        piece.clear();
        (&mut unpacked).take(PIECE_BYTES as u64).read_to_end(&mut piece)?;
        frames::write(out, frames::BYTES, &piece).map_err(pipe)?;
        if piece.is_empty() {
            return Ok(());
        }
    }
}

fn part<'a, 'f>(
    zip: &'a mut ZipArchive<BufReader<&'f File>>,
    wanted: &str,
) -> Result<impl Read + use<'a, 'f>, ReadFault> {
    let names: Vec<String> = (0..zip.len())
        .map(|index| match zip.name_for_index(index) {
            Some(Ok(name)) => name.replace('\\', "/").trim_start_matches('/').to_owned(),
            _ => String::new(),
        })
        .collect();
    match names.iter().position(|name| name.eq_ignore_ascii_case(wanted)) {
        Some(index) => zip.by_index(index).map_err(broken_zip),
        None => Err(ReadFault::Package {
            detail: format!("there is nothing called `{wanted}` in it; it holds {}", listed(names.iter())),
        }),
    }
}

/// What a data package says when it is asked for as if it were a workbook: it was to be loaded whole and cannot be.
pub(super) fn not_as_a_whole(file: &File) -> ReadFault {
    match read_manifest(file) {
        Ok(package) => ReadFault::Package {
            detail: format!(
                "its {} entities cannot share one `target_entity` or `table_name`, and at most {PARTS_MAX} can be loaded \
                 at once; name them with `sheets` in the sidecar: {}",
                package.entities.len(),
                listed(package.entities.iter().map(|entity| &entity.entity))
            ),
        },
        Err(fault) => fault,
    }
}

fn listed<'a>(names: impl Iterator<Item = &'a String> + Clone) -> String {
    let mut listed: Vec<String> = names.clone().take(LISTED_MAX).map(|name| format!("`{name}`")).collect();
    if names.count() > LISTED_MAX {
        listed.push("more".to_owned());
    }
    listed.join(", ")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_names_its_entities_in_their_order_in_any_encoding() {
        let entity = |name: &str, file: &str, turn: &str, more: &str| {
            format!(
                "<DataManagementPackageEntityData><EntityMapList><EntityMap><EntityName>no</EntityName></EntityMap>\
                 </EntityMapList><EntityName>{name}</EntityName><ExecutionUnit>{turn}</ExecutionUnit>\
                 <InputFilePath>{file}</InputFilePath>{more}</DataManagementPackageEntityData>"
            )
        };
        let manifest = format!(
            "<DataManagementPackageManifest xmlns='x'><PackageEntityList>{}{}{}{}</PackageEntityList>\
             </DataManagementPackageManifest>",
            entity("Lines", "C:\\out\\Lines.xlsx", "2", ""),
            entity("Terms &amp; days", "Terms.xlsx", "1", "<SampleFilePath/>"),
            entity("Off", "Off.xlsx", "0", "<Disable>true</Disable>"),
            entity("Nothing", "", "0", ""),
        );
        let utf_16: Vec<u8> =
            [0xFEFF].into_iter().chain(manifest.encode_utf16()).flat_map(u16::to_le_bytes).collect();
        for bytes in [manifest.into_bytes(), utf_16] {
            let mut found = entities(&decoded(&bytes)).unwrap();
            found.sort_by_key(|(turn, _)| *turn);
            let named: Vec<_> = found.iter().map(|(_, e)| (e.entity.as_str(), e.file.as_str())).collect();
            assert_eq!(named, [("Terms & days", "Terms.xlsx"), ("Lines", "Lines.xlsx")]);
            assert!(found[1].1.is_called("lines") && found[1].1.is_called("LINES.XLSX"));
        }
    }
}
