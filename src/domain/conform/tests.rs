//! What each kind of attribute takes, and the words for what it does not take.

use super::*;
use crate::domain::entity::{ChoiceOption, LookupTarget};

fn attribute(kind: AttributeKind) -> Attribute {
    Attribute {
        logical_name: "new_field".to_owned(),
        display_name: Some("Field".to_owned()),
        kind,
        required: false,
        creatable: true,
        updatable: true,
    }
}

fn text(value: &str) -> Value {
    Value::Text(value.to_owned())
}

fn taken(kind: &AttributeKind, value: Value) -> Conformed {
    conform(&attribute(kind.clone()), &value, &TimeZone::UTC).unwrap()
}

fn refused(kind: &AttributeKind, value: Value) -> Misfit {
    conform(&attribute(kind.clone()), &value, &TimeZone::UTC).unwrap_err()
}

fn money() -> AttributeKind {
    AttributeKind::Decimal { min: Some(0.0), max: Some(100_000_000.0), precision: Some(2) }
}

fn options(labels: &[(i64, &str)]) -> Vec<ChoiceOption> {
    labels.iter().map(|(value, label)| ChoiceOption { value: *value, label: (*label).to_owned() }).collect()
}

#[test]
fn a_text_that_is_too_long_is_refused_with_its_length_and_the_bound() {
    let kind = AttributeKind::Text { length_max: Some(160) };
    let misfit = refused(&kind, text(&"Contoso".repeat(30)));
    assert_eq!(
        misfit.cause,
        "`ContosoContosoContosoContosoContosoConto…` has 210 characters; Field takes at most 160"
    );
    assert_eq!(misfit.advice, "shorten it to 160 characters or fewer");
    assert_eq!(taken(&kind, text(&"x".repeat(160))), Conformed::Text("x".repeat(160)));
}

#[test]
fn lengths_are_counted_as_the_target_stores_them() {
    let kind = AttributeKind::Text { length_max: Some(2) };
    assert_eq!(taken(&kind, text("é😀".trim_start_matches('é'))), Conformed::Text("😀".to_owned()));
    assert!(refused(&kind, text("a😀")).cause.contains("3 characters (an emoji counts as two)"));
}

#[test]
fn text_keeps_its_blanks_and_zeros_and_a_blank_elsewhere_is_nothing() {
    let kind = AttributeKind::Text { length_max: None };
    assert_eq!(taken(&kind, text(" 007 ")), Conformed::Text(" 007 ".to_owned()));
    assert_eq!(taken(&kind, Value::Integer(7)), Conformed::Text("7".to_owned()));
    assert_eq!(taken(&money(), text("  ")), Conformed::Blank);
    assert_eq!(taken(&kind, text("")), Conformed::Blank);
}

#[test]
fn an_unreadable_cell_is_refused_with_the_readers_reason() {
    let misfit = refused(
        &money(),
        Value::Unreadable { found: "#N/A".to_owned(), why: "the formula has no value".to_owned() },
    );
    assert_eq!(misfit.cause, "`#N/A` cannot be taken over: the formula has no value");
}

#[test]
fn whole_numbers_are_taken_from_their_spellings_and_fractions_are_not() {
    let kind = AttributeKind::Integer { min: 0, max: 1_000_000 };
    for value in [Value::Integer(12), Value::Number(12.0), text("12"), text("12.0"), text("12,0")] {
        assert_eq!(taken(&kind, value), Conformed::Integer(12));
    }
    assert!(refused(&kind, Value::Number(12.5)).cause.contains("not a whole number"));
    assert_eq!(refused(&kind, text("-5")).cause, "`-5` is outside what Field takes: from 0 to 1000000");
    assert!(refused(&kind, Value::Boolean(true)).cause.contains("not a number"));
    assert!(refused(&kind, text("99999999999999999999")).cause.contains("outside"));
}

#[test]
fn an_ambiguous_separator_is_asked_about_and_never_guessed() {
    let misfit = refused(&money(), text("1,500"));
    assert_eq!(misfit.cause, "`1,500` can be read as 1500 or as 1.5");
    assert_eq!(misfit.advice, "write 1500 or 1.5, or store the cell as a number");
    assert!(refused(&money(), text("1.500")).cause.contains("can be read as"));
    // Where the column keeps three digits, a point is what it is in every machine format.
    let weight = AttributeKind::Decimal { min: None, max: None, precision: Some(3) };
    assert_eq!(taken(&weight, text("1.500")), Conformed::Decimal("1.5".to_owned()));
    assert!(refused(&AttributeKind::Integer { min: 0, max: 9000 }, text("1.500")).cause.contains("1500"));
}

#[test]
fn money_keeps_every_digit_or_is_refused() {
    assert_eq!(taken(&money(), text("1,500.25")), Conformed::Decimal("1500.25".to_owned()));
    assert_eq!(taken(&money(), Value::Number(0.1 + 0.2)), Conformed::Decimal("0.3".to_owned()));
    assert_eq!(taken(&money(), Value::Integer(1500)), Conformed::Decimal("1500".to_owned()));
    let misfit = refused(&money(), Value::Number(12.345));
    assert_eq!(misfit.cause, "`12.345` has 3 digits after the point; Field keeps 2");
    assert_eq!(misfit.advice, "round it to 2 digits after the point");
    assert!(refused(&money(), text("-0.01")).cause.contains("from 0 to 100000000"));
    let latitude = AttributeKind::Double { min: Some(-90.0), max: Some(90.0), precision: Some(5) };
    assert_eq!(taken(&latitude, Value::Number(47.639_583)), Conformed::Decimal("47.639583".to_owned()));
}

#[test]
fn a_truth_value_is_known_by_its_labels_first() {
    let kind = AttributeKind::Boolean { yes: "Do Not Allow".to_owned(), no: "Allow".to_owned() };
    for (value, truth) in [
        (text("allow"), false),
        (text(" DO NOT ALLOW "), true),
        (text("Yes"), true),
        (text("0"), false),
        (Value::Integer(1), true),
        (Value::Number(0.0), false),
        (Value::Boolean(true), true),
    ] {
        assert_eq!(taken(&kind, value), Conformed::Boolean(truth));
    }
    let misfit = refused(&kind, text("maybe"));
    assert_eq!(misfit.cause, "`maybe` is neither Do Not Allow nor Allow");
    let inverted = AttributeKind::Boolean { yes: "No".to_owned(), no: "Yes".to_owned() };
    assert_eq!(taken(&inverted, text("no")), Conformed::Boolean(true));
}

#[test]
fn a_choice_is_known_by_label_then_number_and_a_near_miss_is_suggested() {
    let kind = AttributeKind::Choice { options: options(&[(1, "Preferred Customer"), (2, "Standard")]) };
    assert_eq!(taken(&kind, text(" standard ")), Conformed::Option(2));
    assert_eq!(taken(&kind, Value::Integer(1)), Conformed::Option(1));
    let misfit = refused(&kind, text("Standrd"));
    assert_eq!(misfit.cause, "`Standrd` is not one of the choices of Field; did you mean `Standard`?");
    assert_eq!(misfit.advice, "use one of: Preferred Customer, Standard");
    assert!(refused(&kind, Value::Integer(3)).cause.starts_with("`3` is not one"));
}

#[test]
fn a_label_that_two_options_share_is_its_own_fault() {
    let kind =
        AttributeKind::Choice { options: options(&[(1, "Open"), (2, "open"), (3, "OPEN"), (4, "Shut")]) };
    assert_eq!(taken(&kind, text("Open")), Conformed::Option(1));
    let misfit = refused(&kind, text("oPEN"));
    assert!(misfit.cause.contains("the name of several choices of Field (1, 2, 3)"), "{}", misfit.cause);
}

#[test]
fn several_choices_are_cut_at_semicolons_or_commas_but_never_inside_a_label() {
    let kind =
        AttributeKind::MultiChoice { options: options(&[(1, "Red"), (2, "Green, light"), (9, "Blue")]) };
    assert_eq!(taken(&kind, text("Red; Green, light;red")), Conformed::Options(vec![1, 2]));
    assert_eq!(taken(&kind, text("Red, Blue")), Conformed::Options(vec![1, 9]));
    assert_eq!(taken(&kind, text("green, light")), Conformed::Options(vec![2]));
    assert_eq!(taken(&kind, text("1, 9")), Conformed::Options(vec![1, 9]));
    assert_eq!(taken(&kind, text(" ; ")), Conformed::Blank);
    assert!(refused(&kind, text("Red;Mauve")).cause.starts_with("`Mauve` is not"));
    let many: Vec<(i64, String)> = (0..151).map(|n| (n, format!("o{n}"))).collect();
    let many: Vec<(i64, &str)> = many.iter().map(|(n, label)| (*n, label.as_str())).collect();
    let kind = AttributeKind::MultiChoice { options: options(&many) };
    let all = many.iter().map(|(_, label)| *label).collect::<Vec<_>>().join(";");
    assert!(refused(&kind, text(&all)).cause.contains("at most 150"));
}

#[test]
fn a_member_is_spelled_as_the_target_spells_it() {
    let kind =
        AttributeKind::Enumeration { name: "NoYes".to_owned(), members: options(&[(0, "No"), (1, "Yes")]) };
    for yes in [text("yes"), text("TRUE"), text("1"), Value::Integer(1), Value::Boolean(true)] {
        assert_eq!(taken(&kind, yes), Conformed::Member("Yes".to_owned()));
    }
    assert_eq!(taken(&kind, Value::Boolean(false)), Conformed::Member("No".to_owned()));
    assert_eq!(refused(&kind, text("maybe")).advice, "use one of: No, Yes");
    let kind = AttributeKind::Enumeration {
        name: "CustVendorBlocked".to_owned(),
        members: options(&[(0, "No"), (1, "Invoice"), (2, "All")]),
    };
    assert_eq!(taken(&kind, text("2")), Conformed::Member("All".to_owned()));
    assert!(refused(&kind, text("true")).cause.contains("is not one of the choices"));
}

#[test]
fn a_value_shows_whether_it_is_a_day_or_an_instant() {
    let zone = TimeZone::get("Europe/Berlin").unwrap();
    let at = |value: Value| conform(&attribute(AttributeKind::DayOrInstant), &value, &zone);
    let day = Conformed::Date("2023-02-10".parse().unwrap());
    for same in [
        Value::Date("2023-02-10".parse().unwrap()),
        Value::Timestamp("2023-02-09T23:00:00Z".parse().unwrap()),
        text("2023-02-10"),
        text("2023-02-10 00:00"),
    ] {
        assert_eq!(at(same).unwrap(), day);
    }
    let instant = |text: &str| Conformed::Instant(text.parse().unwrap());
    assert_eq!(at(text("2023-02-10T00:00:00Z")).unwrap(), instant("2023-02-10T00:00:00Z"));
    assert_eq!(at(text("2023-02-10 14:30")).unwrap(), instant("2023-02-10T13:30:00Z"));
    let empty = at(text("1900-01-01")).unwrap();
    assert_eq!(empty, Conformed::Date("1900-01-01".parse().unwrap()), "the empty date of F&O is a day");
    for outside in ["1899-12-31", "2155-01-01"] {
        assert!(at(text(outside)).unwrap_err().cause.contains("1900-01-01 to 2154-12-31"), "{outside}");
    }
}

#[test]
fn a_day_is_taken_from_what_can_only_be_that_day() {
    let day: Date = "2023-02-10".parse().unwrap();
    let kind = AttributeKind::Date;
    for value in [
        Value::Date(day),
        Value::Timestamp("2023-02-10T00:00:00Z".parse().unwrap()),
        text("2023-02-10"),
        text("2023-02-10 00:00:00"),
        text("2023-02-10T00:00:00-08:00"),
    ] {
        assert_eq!(taken(&kind, value), Conformed::Date(day));
    }
    for wrong in ["last spring", "20230210", "2023-02-30", "10.02.23", "25/12/2024", "2023-2-10"] {
        assert!(refused(&kind, text(wrong)).cause.contains("is not a date that can be read"), "{wrong}");
    }
    assert_eq!(
        refused(&kind, text("03/04/2024")).cause,
        "`03/04/2024` can be read as 2024-04-03 or as 2024-03-04"
    );
    assert!(refused(&kind, Value::Integer(45_000)).advice.contains("format the cell as a date"));
    assert!(refused(&kind, text("2023-02-10T14:30:00")).cause.contains("has a time of day"));
    assert!(refused(&kind, text("1752-12-31")).cause.contains("before 1753-01-01"));
}

#[test]
fn an_instant_without_an_offset_is_placed_in_the_loads_zone() {
    let zone = TimeZone::get("Europe/Berlin").unwrap();
    let at = |value: Value| conform(&attribute(AttributeKind::DateTime), &value, &zone);
    let instant = |text: &str| Conformed::Instant(text.parse().unwrap());
    assert_eq!(at(text("2023-02-10T12:00:00")).unwrap(), instant("2023-02-10T11:00:00Z"));
    assert_eq!(at(text("2023-02-10T12:00:00Z")).unwrap(), instant("2023-02-10T12:00:00Z"));
    assert_eq!(at(text("2023-02-10 12:00+05:30")).unwrap(), instant("2023-02-10T06:30:00Z"));
    assert_eq!(at(text("2023-02-10")).unwrap(), instant("2023-02-09T23:00:00Z"));
    let skipped = at(text("2023-03-26T02:30:00")).unwrap_err();
    assert!(skipped.cause.contains("Europe/Berlin"), "{}", skipped.cause);
}

#[test]
fn ids_and_references_are_trimmed() {
    let id = "8f4c3f92-312b-ee11-bdf4-000d3a993550";
    for spelled in [id.to_owned(), format!("{{{id}}}"), id.to_uppercase(), id.replace('-', "")] {
        assert_eq!(taken(&AttributeKind::Guid, text(&spelled)), Conformed::Guid(id.parse().unwrap()));
    }
    assert!(refused(&AttributeKind::Guid, text("A-17")).cause.contains("is not an id"));
    let lookup = AttributeKind::Lookup {
        targets: vec![LookupTarget {
            logical_name: "account".to_owned(),
            set_name: "accounts".to_owned(),
            navigation: "parentaccountid".to_owned(),
        }],
    };
    assert_eq!(taken(&lookup, Value::Number(10.0)), Conformed::Reference("10".to_owned()));
}
