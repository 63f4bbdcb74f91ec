//! Truth values, choices and named members: labels first, since that is what people see, then numbers.

use super::{Cell, Conformed, Misfit, excerpt};
use crate::domain::entity::ChoiceOption;
use crate::domain::near::did_you_mean;
use crate::domain::value::Value;

/// Options that one multi-select value can hold. Source: dynamics.md §2.6.
pub const OPTIONS_SELECTED_MAX: usize = 150;
/// Labels listed in an advice; more would not be read.
const LABELS_SHOWN_MAX: usize = 12;

/// What a text is among a list of options.
enum Found {
    One(i64),
    Several,
    None,
}

impl Cell<'_> {
    pub(super) fn boolean(&self, yes: &str, no: &str) -> Result<Conformed, Misfit> {
        if let Value::Boolean(truth) = self.value {
            return Ok(Conformed::Boolean(*truth));
        }
        let text = folded(&self.whole_text());
        // The labels come first: a column may well call its true value `No`.
        let labels = [(folded(yes), true), (folded(no), false)];
        let words =
            [("yes", true), ("true", true), ("1", true), ("no", false), ("false", false), ("0", false)];
        labels
            .iter()
            .map(|(label, truth)| (label.as_str(), *truth))
            .chain(words)
            .find(|(word, _)| *word == text)
            .map(|(_, truth)| Conformed::Boolean(truth))
            .ok_or_else(|| {
                self.misfit(
                    "not a truth value",
                    format!("`{}` is neither {yes} nor {no}", self.shown()),
                    format!("write {yes} or {no}"),
                )
            })
    }

    pub(super) fn option(&self, options: &[ChoiceOption]) -> Result<Conformed, Misfit> {
        self.one_option(&self.whole_text(), options).map(Conformed::Option)
    }

    /// Labels between `;` (as Dynamics writes them) or `,`. A label may itself hold a comma, so the whole text is
    /// tried before it is cut at commas, and it is not cut at commas where it has semicolons.
    pub(super) fn options(&self, options: &[ChoiceOption]) -> Result<Conformed, Misfit> {
        let text = self.whole_text();
        let pieces: Vec<&str> = if text.contains(';') {
            text.split(';').collect()
        } else if matches!(search(&text, options), Found::None) {
            text.split(',').collect()
        } else {
            vec![&text]
        };
        let mut numbers = Vec::new();
        for piece in pieces.iter().map(|piece| piece.trim()).filter(|piece| !piece.is_empty()) {
            let number = self.one_option(piece, options)?;
            if !numbers.contains(&number) {
                numbers.push(number);
            }
        }
        if numbers.len() > OPTIONS_SELECTED_MAX {
            return Err(self.misfit(
                &format!("{} options of at most {OPTIONS_SELECTED_MAX}", numbers.len()),
                format!(
                    "{} choices are named; {} takes at most {OPTIONS_SELECTED_MAX}",
                    numbers.len(),
                    self.name()
                ),
                format!("name {OPTIONS_SELECTED_MAX} or fewer"),
            ));
        }
        Ok(if numbers.is_empty() { Conformed::Blank } else { Conformed::Options(numbers) })
    }

    /// A name as the target spells it, else one that differs only in case, else the number. `Yes` and `No`, where these
    /// are all there is, may also be written as true and false.
    pub(super) fn member(&self, members: &[ChoiceOption]) -> Result<Conformed, Misfit> {
        let text = self.whole_text();
        let named = |wanted: &str| members.iter().find(|member| folded(&member.label) == wanted);
        let word = match (folded(&text).as_str(), members.len(), named("yes"), named("no")) {
            ("true", 2, Some(yes), Some(_)) => Some(yes),
            ("false", 2, Some(_), Some(no)) => Some(no),
            _ => None,
        };
        members
            .iter()
            .find(|member| member.label == text)
            .or_else(|| named(&folded(&text)))
            .or(word)
            .or_else(|| members.iter().find(|member| Ok(member.value) == text.parse::<i64>()))
            .map(|member| Conformed::Member(member.label.clone()))
            .ok_or_else(|| self.not_a_choice(&text, members.iter().map(|member| member.label.as_str())))
    }

    fn one_option(&self, text: &str, options: &[ChoiceOption]) -> Result<i64, Misfit> {
        match search(text, options) {
            Found::One(number) => Ok(number),
            Found::Several => {
                let numbers: Vec<String> = options
                    .iter()
                    .filter(|option| folded(&option.label) == folded(text))
                    .map(|option| option.value.to_string())
                    .collect();
                Err(self.misfit(
                    &format!("ambiguous label `{text}`"),
                    format!(
                        "`{}` is the name of several choices of {} ({})",
                        excerpt(text),
                        self.name(),
                        numbers.join(", ")
                    ),
                    format!("write the number of the choice instead: {}", numbers.join(" or ")),
                ))
            }
            Found::None => Err(self.not_a_choice(text, options.iter().map(|option| option.label.as_str()))),
        }
    }

    fn not_a_choice<'a>(&self, text: &str, labels: impl Iterator<Item = &'a str> + Clone) -> Misfit {
        let count = labels.clone().count();
        let mut listed = labels.clone().take(LABELS_SHOWN_MAX).collect::<Vec<_>>().join(", ");
        if count > LABELS_SHOWN_MAX {
            listed.push_str(&format!(" … ({count} in all)"));
        }
        self.misfit(
            &format!("`{text}` is not an option"),
            format!(
                "`{}` is not one of the choices of {}{}",
                excerpt(text),
                self.name(),
                did_you_mean(text, labels)
            ),
            format!("use one of: {listed}"),
        )
    }

    /// The cell as a trimmed text.
    fn whole_text(&self) -> String {
        self.value.to_text().trim().to_owned()
    }
}

/// A label exactly as written, else the one that differs only in case, else the number of an option.
fn search(text: &str, options: &[ChoiceOption]) -> Found {
    let text = text.trim();
    let wanted = folded(text);
    let by = |matches: &dyn Fn(&ChoiceOption) -> bool| {
        let mut values: Vec<i64> =
            options.iter().filter(|option| matches(option)).map(|option| option.value).collect();
        values.dedup();
        match values.as_slice() {
            [] => Found::None,
            [value] => Found::One(*value),
            _ => Found::Several,
        }
    };
    match by(&|option| option.label.trim() == text) {
        Found::None => {}
        found => return found,
    }
    match by(&|option| folded(&option.label) == wanted) {
        Found::None => match text.parse::<i64>() {
            Ok(number) => by(&|option| option.value == number),
            Err(_) => Found::None,
        },
        found => found,
    }
}

fn folded(text: &str) -> String {
    text.trim().to_lowercase()
}
