//! "Did you mean": the nearest of the names that would have been right.

/// How alike two names must be before one is offered for the other, from 0 to 1 (Jaro-Winkler).
const LIKENESS_MIN: f64 = 0.8;

/// The candidate most like `name`, compared without case, if any is alike enough.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = name.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(&wanted, &candidate.to_lowercase()), candidate))
        .filter(|(likeness, _)| *likeness >= LIKENESS_MIN)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// The tail of a sentence about an unknown name: "; did you mean `accountnumber`?" or nothing.
pub fn did_you_mean<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    nearest(name, candidates).map(|found| format!("; did you mean `{found}`?")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_is_recognised_and_a_stranger_is_not() {
        let names = ["accountnumber", "name", "telephone1"];
        assert_eq!(nearest("acountnumber", names), Some("accountnumber"));
        assert_eq!(nearest("zebra", names), None);
        assert_eq!(did_you_mean("Nam", names), "; did you mean `name`?");
    }
}
