//! Draws a plan: matches headers with attributes, finds the key, and gathers whatever is wrong.

use jiff::tz::TimeZone;

use super::{Naming, PlannedColumn, Role};
use crate::domain::entity::{Attribute, AttributeKind, Entity, LookupTarget};
use crate::domain::near::did_you_mean;
use crate::domain::row::StagedColumn;
use crate::domain::settings::{LoadSettings, LookupRule, Mode};
use crate::domain::table::column_identifier;
use crate::io::dynamics::Dialect;
use crate::io::dynamics::fault::PlanProblem;
use crate::io::dynamics::finops::{COMPANY, EntityNaming, Usual, squeezed};

/// Entities in which the values of one lookup are searched; one that can point at more (`regardingobjectid`) needs to be
/// told which.
const LOOKUP_TARGETS_MAX: usize = 4;

/// A plan while it is drawn.
pub(super) struct Drawing<'a> {
    pub(super) dialect: Dialect,
    pub(super) entity: &'a Entity,
    pub(super) staged: &'a [StagedColumn],
    pub(super) settings: &'a LoadSettings,
    pub(super) problems: Vec<PlanProblem>,
    pub(super) notes: Vec<String>,
}

impl<'a> Drawing<'a> {
    pub(super) fn problem(&mut self, header: Option<&str>, cause: String, advice: String) {
        self.problems.push(PlanProblem { header: header.map(str::to_owned), cause, advice });
    }

    /// What the settings say that cannot be, whatever the columns.
    pub(super) fn check_settings(&mut self) {
        if let Some(company) = self.settings.legal_entity.as_deref().filter(|company| !company.is_empty()) {
            let without = match self.dialect {
                Dialect::Dataverse => Some("is a table of Dataverse, which has no legal entities"),
                Dialect::Finops if self.entity.attribute(COMPANY).is_none() => {
                    Some("is shared by all companies")
                }
                Dialect::Finops => None,
            };
            if let Some(without) = without {
                let set = &self.entity.set_name;
                let cause = format!("`legal_entity` is `{company}`, but `{set}` {without}");
                self.problem(None, cause, "take `legal_entity` out of the sidecar".to_owned());
            }
        }
        if self.dialect == Dialect::Finops
            && let Some(header) = self.settings.lookups.keys().next().cloned()
        {
            let cause = "`lookups` is a setting of Dataverse; in Finance & Operations a row refers to others by their \
                         keys, which stand in columns of its own"
                .to_owned();
            let advice =
                "take `lookups` out of the sidecar and put the keys themselves into the column".to_owned();
            self.problem(Some(&header), cause, advice);
        }
        let names = |setting: &'static str, headers: Vec<&String>| {
            headers.into_iter().map(move |header| (setting, header.clone())).collect::<Vec<_>>()
        };
        let mut named = names("columns", self.settings.columns.keys().collect());
        named.extend(names("lookups", self.settings.lookups.keys().collect()));
        for (setting, header) in named {
            if self.staged_named(&header).is_none() {
                let hint = did_you_mean(&header, self.staged.iter().map(|column| column.header.as_str()));
                let cause =
                    format!("`{setting}` names the column `{header}`, which the sheet does not have{hint}");
                self.problem(Some(&header), cause, format!("correct `{setting}` in the sidecar"));
            }
        }
    }

    pub(super) fn zone(&mut self) -> Option<TimeZone> {
        match TimeZone::get(&self.settings.timezone) {
            Ok(zone) => Some(zone),
            Err(_) => {
                let cause = format!("`timezone` is `{}`, which is no time zone", self.settings.timezone);
                self.problem(None, cause, "write one like `Europe/Berlin`".to_owned());
                None
            }
        }
    }

    /// The staged column with this header, or, where a returned or written table names it so, this column name.
    fn staged_named(&self, header: &str) -> Option<usize> {
        self.staged
            .iter()
            .position(|column| same(&column.header, header))
            .or_else(|| self.staged.iter().position(|column| same(&column.name, header)))
    }

    fn is_key(&self, index: usize) -> bool {
        self.settings.key.iter().any(|key| self.staged_named(key) == Some(index))
    }

    /// The attribute of each staged column.
    pub(super) fn columns(&mut self) -> Vec<PlannedColumn> {
        let mut planned: Vec<PlannedColumn> = Vec::new();
        for (index, column) in self.staged.iter().enumerate() {
            // A delete needs its key alone; what else the sheet has is for its readers.
            let mapped = self
                .settings
                .columns
                .iter()
                .find(|(header, _)| self.staged_named(header) == Some(index))
                .map(|(_, attribute)| attribute.as_str());
            let names = |name: &str| self.dialect == Dialect::Finops && self.is_of_entity_key(name);
            if self.settings.mode == Mode::Delete
                && !self.is_key(index)
                && !names(mapped.unwrap_or(&column.header))
            {
                continue;
            }
            if mapped.is_some_and(|name| name.trim().is_empty()) {
                self.notes.push(format!("`{}` is left out, as `columns` says", column.header));
                continue;
            }
            let identifier = mapped.map_or_else(|| column.name.clone(), column_identifier);
            let name = mapped.unwrap_or(&column.header);
            let found = find(self.entity, name, &identifier);
            let attribute = match found.or_else(|problem| self.find_squeezed(name).ok_or(problem)) {
                Ok(attribute) => attribute.clone(),
                Err((cause, advice)) => {
                    self.problem(Some(&column.header), cause, advice);
                    continue;
                }
            };
            if self.is_left_to_the_target(&attribute) {
                self.notes.push(format!(
                    "`{}` is not sent: {} cannot be set from a workbook",
                    column.header,
                    attribute.label()
                ));
                continue;
            }
            if let Some(other) = planned.iter().find(|p| p.attribute.logical_name == attribute.logical_name) {
                let cause =
                    format!("`{}` and `{}` both fill {}", other.header, column.header, attribute.label());
                self.problem(Some(&column.header), cause, "keep one of the two columns".to_owned());
                continue;
            }
            planned.push(PlannedColumn {
                index,
                name: column.name.clone(),
                header: column.header.clone(),
                attribute,
                role: Role::Value,
                lookup: None,
                others: Vec::new(),
            });
        }
        planned
    }

    /// F&O tells no labels: people write `Customer group ID`, tools `CUSTOMERGROUPID`, and both are `CustomerGroupId`.
    fn find_squeezed(&self, name: &str) -> Option<&'a Attribute> {
        let wanted = squeezed(name);
        let is = |attribute: &&Attribute| squeezed(&attribute.logical_name) == wanted;
        let mut found = self.entity.attributes.iter().filter(|_| self.dialect == Dialect::Finops).filter(is);
        found.next().filter(|_| found.next().is_none())
    }

    fn is_of_entity_key(&self, name: &str) -> bool {
        let wanted = squeezed(name);
        let key = self.entity.keys.iter().flat_map(|key| &key.attributes).map(String::as_str);
        key.chain([COMPANY]).any(|member| squeezed(member) == wanted)
    }

    /// Whether mode `edit` passes over a column: workbooks that Dynamics makes show ones that only it sets.
    fn is_left_to_the_target(&self, attribute: &Attribute) -> bool {
        let unsupported = matches!(attribute.kind, AttributeKind::Unsupported { .. });
        self.settings.mode == Mode::Edit
            && Some(&attribute.logical_name) != self.entity.primary_id.as_ref()
            && (unsupported || !(attribute.creatable || attribute.updatable))
    }

    /// How rows name their records in F&O; a `key` in the sidecar can only be what the entity's key is anyway.
    pub(super) fn entity_naming(&mut self, planned: &mut [PlannedColumn], company: Usual) -> Option<Naming> {
        let said = self.key_columns(planned)?;
        let (entity, mode) = (self.entity, self.settings.mode);
        let naming = EntityNaming::of(entity, mode, planned, company, &mut self.notes);
        let naming = naming.map_err(|problem| self.problems.push(problem)).ok()?;
        let key = naming.columns().unwrap_or_default();
        let is_company = |at: &usize| planned[*at].attribute.logical_name == COMPANY;
        let agree = key.iter().all(|at| said.contains(at))
            && said.iter().all(|at| key.contains(at) || is_company(at));
        if !said.is_empty() && !agree {
            let cause = format!(
                "`key` names {}, but `{}` has one key and no other: {}",
                self.settings.key.join(" + "),
                entity.set_name,
                entity.keys.iter().flat_map(|key| &key.attributes).cloned().collect::<Vec<_>>().join(" + ")
            );
            self.problem(None, cause, "take `key` out of the sidecar".to_owned());
            return None;
        }
        Some(Naming::Entity(naming))
    }

    /// How rows name their records; sets the roles of the key's columns.
    pub(super) fn naming(&mut self, planned: &mut [PlannedColumn]) -> Option<Naming> {
        let is_primary =
            |column: &PlannedColumn| Some(&column.attribute.logical_name) == self.entity.primary_id.as_ref();
        let primary = planned.iter().position(is_primary);
        let key = self.key_columns(planned)?;
        let naming = match (key.as_slice(), self.settings.mode) {
            ([], Mode::Insert) => primary.map_or(Naming::Row, Naming::PrimaryId),
            ([], Mode::Edit) => match primary {
                Some(at) => Naming::Given(at),
                None => {
                    let id = self.entity.primary_id.as_deref().unwrap_or("the record's id");
                    let cause = "mode `edit` needs the column with the ids of the records".to_owned();
                    self.problem(
                        None,
                        cause,
                        format!("add `{id}`, or say with `columns` which column it is"),
                    );
                    return None;
                }
            },
            ([], mode) => {
                let cause = format!("mode `{}` needs to know which columns name a record", mode.as_str());
                self.problem(
                    None,
                    cause,
                    format!("name them with `key` in the sidecar; {}", self.keys_there_are()),
                );
                return None;
            }
            ([only], _) if Some(*only) == primary => Naming::PrimaryId(*only),
            (_, Mode::Insert) => Naming::Derived(key.clone()),
            (_, mode) => {
                let attributes: Vec<String> =
                    key.iter().map(|at| planned[*at].attribute.logical_name.clone()).collect();
                if self.entity.key_over(&attributes).is_none() {
                    self.no_such_key(mode, &attributes);
                    return None;
                }
                Naming::Alternate(key.clone())
            }
        };
        if let (Some(at), false) = (primary, matches!(naming, Naming::PrimaryId(_) | Naming::Given(_))) {
            let header = planned[at].header.clone();
            let cause = format!("`{header}` is the record's own id, but `key` names something else");
            self.problem(Some(&header), cause, "make it the `key`, or take the column out".to_owned());
        }
        let role = if matches!(naming, Naming::Derived(_)) { Role::KeyAndValue } else { Role::Key };
        let named: &[usize] = match &naming {
            Naming::Row | Naming::Entity(_) => &[],
            Naming::PrimaryId(at) | Naming::Given(at) => std::slice::from_ref(at),
            Naming::Derived(key) | Naming::Alternate(key) => key,
        };
        for at in named {
            planned[*at].role = role;
        }
        Some(naming)
    }

    /// The planned columns that `key` names, in its order; `None` where one is not there.
    fn key_columns(&mut self, planned: &[PlannedColumn]) -> Option<Vec<usize>> {
        let mut found = Vec::new();
        let mut complete = true;
        for key in &self.settings.key {
            let staged = self.staged_named(key);
            let at = planned.iter().position(|column| match staged {
                Some(index) => column.index == index,
                None => same(&column.attribute.logical_name, key) || same(column.attribute.label(), key),
            });
            match at {
                Some(at) if !found.contains(&at) => found.push(at),
                Some(_) => {}
                None => {
                    complete = false;
                    // A column that is there but has no attribute has its own problem already.
                    if staged.is_none() {
                        let hint = did_you_mean(key, self.staged.iter().map(|column| column.header.as_str()));
                        let cause =
                            format!("`key` names the column `{key}`, which the sheet does not have{hint}");
                        self.problem(Some(key), cause, "correct `key` in the sidecar".to_owned());
                    }
                }
            }
        }
        complete.then_some(found)
    }

    fn no_such_key(&mut self, mode: Mode, attributes: &[String]) {
        let over: Vec<&String> = attributes.iter().collect();
        let building = self.entity.keys.iter().any(|key| {
            !key.active
                && key.attributes.len() == over.len()
                && key.attributes.iter().all(|a| over.contains(&a))
        });
        let named = attributes.join(", ");
        let (cause, advice) = if building {
            (
                format!(
                    "the key over {named} of `{}` is still being built in Dynamics",
                    self.entity.set_name
                ),
                "wait until its status is Active, then drop the workbook again".to_owned(),
            )
        } else {
            (
                format!(
                    "mode `{}` names records by {named}, which is no key of `{}` in Dynamics",
                    mode.as_str(),
                    self.entity.set_name
                ),
                format!("define such a key there, or use another one; {}", self.keys_there_are()),
            )
        };
        self.problem(None, cause, advice);
    }

    fn keys_there_are(&self) -> String {
        let alternate =
            self.entity.keys.iter().filter(|key| key.active).map(|key| key.attributes.join(" + "));
        let keys: Vec<String> = self.entity.primary_id.iter().cloned().chain(alternate).collect();
        format!("`{}` has the keys {}", self.entity.set_name, keys.join(", "))
    }

    pub(super) fn lookup_rule(&self, column: &PlannedColumn) -> Option<&'a LookupRule> {
        let rules = &self.settings.lookups;
        // F&O has none, which is told once.
        let rules = (self.dialect == Dialect::Dataverse).then_some(rules)?;
        rules.iter().find(|(header, _)| self.staged_named(header) == Some(column.index)).map(|(_, rule)| rule)
    }

    /// The entities that the lookup's values may point at.
    pub(super) fn lookup_targets(
        &mut self,
        column: &PlannedColumn,
        targets: &[LookupTarget],
        rule: Option<&LookupRule>,
    ) -> Vec<LookupTarget> {
        let Some(wanted) = rule.and_then(|rule| rule.entity.as_deref()) else {
            if targets.len() > LOOKUP_TARGETS_MAX {
                self.name_the_target(column, targets);
                return Vec::new();
            }
            return targets.to_vec();
        };
        let found = targets
            .iter()
            .find(|target| same(&target.set_name, wanted) || same(&target.logical_name, wanted));
        if found.is_none() {
            let names: Vec<&str> = targets.iter().map(|target| target.set_name.as_str()).collect();
            let cause = format!(
                "`lookups` of `{}` names the entity `{wanted}`; {} points at {}{}",
                column.header,
                column.attribute.label(),
                names.join(", "),
                did_you_mean(wanted, names.iter().copied())
            );
            self.problem(Some(&column.header), cause, "correct `entity` in `lookups`".to_owned());
        }
        found.cloned().into_iter().collect()
    }

    /// Values could point anywhere: the sender must say where.
    pub(super) fn name_the_target(&mut self, column: &PlannedColumn, targets: &[LookupTarget]) {
        let names: Vec<&str> = targets.iter().map(|target| target.set_name.as_str()).collect();
        let cause = format!("{} can point at {}", column.attribute.label(), names.join(", "));
        let advice = format!("say which with `lookups.{}.entity` in the sidecar", column.header);
        self.problem(Some(&column.header), cause, advice);
    }

    /// Dataverse ignores values of columns that cannot be written without a word (dynamics.md §2.6), so they are refused.
    pub(super) fn check_writable(&mut self, planned: &[PlannedColumn]) {
        let finops = self.dialect == Dialect::Finops;
        // F&O's company is never in the body of a change.
        let written = |column: &&PlannedColumn| {
            column.role != Role::Key && !(finops && column.attribute.logical_name == COMPANY)
        };
        for column in planned.iter().filter(written) {
            let attribute = &column.attribute;
            let (allowed, when) = match self.settings.mode {
                // An upsert of F&O is an update or an insert, and each sends what it may.
                Mode::Upsert if finops => (attribute.creatable || attribute.updatable, "written"),
                Mode::Insert | Mode::Upsert => (attribute.creatable, "created"),
                Mode::Update => (attribute.updatable, "updated"),
                Mode::Delete => (true, ""),
                // What neither takes was passed over, and a row that holds what its own deed does not take is refused.
                Mode::Edit => (true, ""),
            };
            let unfit = match &attribute.kind {
                AttributeKind::Unsupported { name } => {
                    Some(format!("is of a kind ({name}) that a workbook cannot fill"))
                }
                _ if !allowed => Some(format!("cannot be set when a record is {when}")),
                _ => None,
            };
            if let Some(unfit) = unfit {
                let cause = format!("{} {unfit}", attribute.label());
                let advice =
                    format!("take the column `{}` out, or leave it out with `columns`", column.header);
                self.problem(Some(&column.header), cause, advice);
            }
        }
    }

    /// Dynamics does not insist on business-required columns (dynamics.md §2.7), and plug-ins may fill them; a note it is.
    pub(super) fn note_required(&mut self, planned: &[PlannedColumn]) {
        if self.settings.mode == Mode::Edit {
            let fixed =
                planned.iter().filter(|column| column.role == Role::Value && !column.attribute.updatable);
            let headers: Vec<String> = fixed.map(|column| format!("`{}`", column.header)).collect();
            if !headers.is_empty() {
                let headers = headers.join(", ");
                self.notes.push(format!(
                    "rows with an id do not send {headers}: Dynamics takes that for new records only"
                ));
            }
        }
        if self.settings.mode != Mode::Insert {
            return;
        }
        let missing: Vec<&str> = self
            .entity
            .attributes
            .iter()
            .filter(|a| a.required && a.creatable && !matches!(a.kind, AttributeKind::Unsupported { .. }))
            .filter(|a| !planned.iter().any(|column| column.attribute.logical_name == a.logical_name))
            // A note of its own tells of keys that the target makes.
            .filter(|a| self.dialect == Dialect::Dataverse || !self.is_of_entity_key(&a.logical_name))
            .map(Attribute::label)
            .collect();
        if !missing.is_empty() {
            let set_name = &self.entity.set_name;
            self.notes.push(format!("no column fills what `{set_name}` requires: {}", missing.join(", ")));
        }
    }
}

/// The attribute that a header means: by logical name, by display name, by the display name's form as a column.
///
/// # Errors
/// Cause and advice: no such attribute, or several of that display name.
pub(super) fn find<'a>(
    entity: &'a Entity,
    name: &str,
    identifier: &str,
) -> Result<&'a Attribute, (String, String)> {
    let by_logical = entity.attributes.iter().find(|a| same(&a.logical_name, name));
    if let Some(attribute) = by_logical {
        return Ok(attribute);
    }
    let fillable =
        |a: &Attribute| (a.creatable || a.updatable) && !matches!(a.kind, AttributeKind::Unsupported { .. });
    let matching = |is: &dyn Fn(&str) -> bool| -> Vec<&'a Attribute> {
        let named: Vec<&Attribute> =
            entity.attributes.iter().filter(|a| a.display_name.as_deref().is_some_and(is)).collect();
        let fillable: Vec<&Attribute> = named.iter().copied().filter(|a| fillable(a)).collect();
        if fillable.is_empty() { named } else { fillable }
    };
    let mut found = matching(&|display| same(display, name));
    if found.is_empty() && !identifier.is_empty() {
        found = matching(&|display| same(&column_identifier(display), identifier));
    }
    match found.as_slice() {
        [only] => Ok(only),
        [] => {
            let known = entity.attributes.iter().filter(|a| fillable(a));
            let known =
                known.flat_map(|a| [Some(a.logical_name.as_str()), a.display_name.as_deref()]).flatten();
            Err((
                format!("`{}` has no column `{name}`{}", entity.set_name, did_you_mean(name, known)),
                "rename the header, or say with `columns` in the sidecar which column it is".to_owned(),
            ))
        }
        several => {
            let names: Vec<&str> = several.iter().map(|a| a.logical_name.as_str()).collect();
            Err((
                format!(
                    "`{name}` is the name of several columns of `{}`: {}",
                    entity.set_name,
                    names.join(", ")
                ),
                "say with `columns` in the sidecar which one it is".to_owned(),
            ))
        }
    }
}

fn same(one: &str, other: &str) -> bool {
    one.trim().to_lowercase() == other.trim().to_lowercase()
}

pub(super) fn names(planned: &[PlannedColumn]) -> Vec<(String, String)> {
    let mut names = Vec::new();
    for column in planned {
        names.push((column.attribute.logical_name.clone(), column.name.clone()));
        names.extend(column.attribute.display_name.clone().map(|display| (display, column.name.clone())));
        names.extend(column.lookups().map(|lookup| (lookup.target.navigation.clone(), column.name.clone())));
    }
    names
}
