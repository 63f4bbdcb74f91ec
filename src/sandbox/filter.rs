//! `$filter`: from text to a tree. What a tree means for rows is in `query`, for definitions in `definitions`.

use std::collections::HashMap;

use super::error::ApiError;
use super::literal::{Literal, quoted};

/// Brackets that may stand inside each other. Keeps the parser's stack bounded.
const DEPTH_MAX: usize = 64;

/// A condition.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Filter {
    /// All of these.
    And(Vec<Filter>),
    /// Any of these.
    Or(Vec<Filter>),
    /// Not this.
    Not(Box<Filter>),
    /// A property against a literal.
    Compare { property: String, operator: Operator, literal: Literal },
    /// A text property against a part of it.
    Match { part: Part, property: String, text: String },
    /// A property against a list, as Dataverse's own functions spell it.
    Among { how: Among, property: String, values: Vec<String> },
}

/// How a property is compared with a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Among {
    /// It is one of them.
    In,
    /// It holds one of them: a multi-select.
    ContainValues,
}

/// How two values are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Equal,
    NotEqual,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

/// Which part of a text is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Anywhere,
    Start,
    End,
}

/// Parses a filter; `@name` stands for the query's parameter of that name.
///
/// # Errors
/// 400 with the place where it stops making sense.
pub(super) fn parse(text: &str, aliases: &HashMap<String, String>) -> Result<Filter, ApiError> {
    let mut parser = Parser { text, at: 0, depth: 0, aliases };
    let filter = parser.any()?;
    parser.blanks();
    if parser.at < text.len() {
        return Err(parser.fault());
    }
    Ok(filter)
}

struct Parser<'t> {
    text: &'t str,
    at: usize,
    depth: usize,
    aliases: &'t HashMap<String, String>,
}

impl Parser<'_> {
    fn any(&mut self) -> Result<Filter, ApiError> {
        let mut terms = vec![self.all()?];
        while self.keyword("or") {
            terms.push(self.all()?);
        }
        Ok(single_or(terms, Filter::Or))
    }

    fn all(&mut self) -> Result<Filter, ApiError> {
        let mut terms = vec![self.term()?];
        while self.keyword("and") {
            terms.push(self.term()?);
        }
        Ok(single_or(terms, Filter::And))
    }

    fn term(&mut self) -> Result<Filter, ApiError> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(ApiError::query_syntax("The recursion limit of the filter has been exceeded."));
        }
        let filter = self.bare_term();
        self.depth -= 1;
        filter
    }

    fn bare_term(&mut self) -> Result<Filter, ApiError> {
        if self.keyword("not") {
            return Ok(Filter::Not(Box::new(self.term()?)));
        }
        if self.symbol('(') {
            let inner = self.any()?;
            self.expect(')')?;
            return Ok(inner);
        }
        let word = self.word()?;
        let part = match word.as_str() {
            "contains" => Some(Part::Anywhere),
            "startswith" => Some(Part::Start),
            "endswith" => Some(Part::End),
            _ => None,
        };
        if let Some(part) = part {
            return self.match_of(part);
        }
        match word.as_str() {
            "Microsoft.Dynamics.CRM.In" => return self.among(Among::In),
            "Microsoft.Dynamics.CRM.ContainValues" => return self.among(Among::ContainValues),
            _ => {}
        }
        if self.text[self.at..].starts_with('(') {
            return Err(ApiError::not_played(&format!("{word} in $filter")));
        }
        let operator = match self.word()?.as_str() {
            "eq" => Operator::Equal,
            "ne" => Operator::NotEqual,
            "gt" => Operator::Greater,
            "ge" => Operator::GreaterOrEqual,
            "lt" => Operator::Less,
            "le" => Operator::LessOrEqual,
            _ => return Err(self.fault()),
        };
        let literal = self.literal()?;
        Ok(Filter::Compare { property: word, operator, literal })
    }

    fn match_of(&mut self, part: Part) -> Result<Filter, ApiError> {
        self.expect('(')?;
        let property = self.word()?;
        self.expect(',')?;
        let Literal::Text(text) = self.literal()? else { return Err(self.fault()) };
        self.expect(')')?;
        // `contains(name,'a') eq true` says the same as without the comparison.
        if self.keyword("eq") && self.word()? != "true" {
            return Err(self.fault());
        }
        Ok(Filter::Match { part, property, text })
    }

    /// `(PropertyName='name',PropertyValues=['a','b'])`
    fn among(&mut self, how: Among) -> Result<Filter, ApiError> {
        self.expect('(')?;
        if self.word()? != "PropertyName=" {
            return Err(self.fault());
        }
        let Literal::Text(property) = self.literal()? else { return Err(self.fault()) };
        self.expect(',')?;
        let mut values = Vec::new();
        match self.word()?.as_str() {
            "PropertyValues=[]" => {}
            "PropertyValues=[" => loop {
                let Literal::Text(value) = self.literal()? else { return Err(self.fault()) };
                values.push(value);
                if !self.symbol(',') {
                    self.expect(']')?;
                    break;
                }
            },
            _ => return Err(self.fault()),
        }
        self.expect(')')?;
        Ok(Filter::Among { how, property, values })
    }

    fn literal(&mut self) -> Result<Literal, ApiError> {
        self.blanks();
        let rest = &self.text[self.at..];
        if rest.starts_with('\'') {
            let (content, length) = quoted(rest).ok_or_else(|| self.fault())?;
            self.at += length;
            return Ok(Literal::Text(content));
        }
        let word = self.word()?;
        if let Some(alias) = word.strip_prefix('@') {
            let value = self.aliases.get(alias).ok_or_else(|| self.fault())?;
            return match quoted(value) {
                Some((content, length)) if length == value.len() => Ok(Literal::Text(content)),
                Some(_) => Err(self.fault()),
                None => Ok(Literal::from_word(value)),
            };
        }
        // An enumeration member: `Microsoft.Dynamics.CRM.AttributeTypeCode'Picklist'`.
        let rest = &self.text[self.at..];
        if rest.starts_with('\'') {
            let (content, length) = quoted(rest).ok_or_else(|| self.fault())?;
            self.at += length;
            return Ok(Literal::Member { of: word, name: content });
        }
        Ok(Literal::from_word(&word))
    }

    /// A run of characters up to a blank, bracket, comma or quote.
    fn word(&mut self) -> Result<String, ApiError> {
        self.blanks();
        let rest = &self.text[self.at..];
        let end = rest.find([' ', '(', ')', ',', '\'']).unwrap_or(rest.len());
        if end == 0 {
            return Err(self.fault());
        }
        self.at += end;
        Ok(rest[..end].to_owned())
    }

    fn keyword(&mut self, keyword: &str) -> bool {
        self.blanks();
        let rest = &self.text[self.at..];
        let Some(after) = rest.strip_prefix(keyword) else { return false };
        if after.starts_with([' ', '(']) {
            self.at += keyword.len();
            return true;
        }
        false
    }

    fn symbol(&mut self, symbol: char) -> bool {
        self.blanks();
        if self.text[self.at..].starts_with(symbol) {
            self.at += symbol.len_utf8();
            return true;
        }
        false
    }

    fn expect(&mut self, symbol: char) -> Result<(), ApiError> {
        if self.symbol(symbol) { Ok(()) } else { Err(self.fault()) }
    }

    fn blanks(&mut self) {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start_matches(' ').len();
    }

    fn fault(&self) -> ApiError {
        ApiError::query_syntax(format!("Syntax error at position {} in '{}'.", self.at, self.text))
    }
}

fn single_or(mut terms: Vec<Filter>, several: impl FnOnce(Vec<Filter>) -> Filter) -> Filter {
    match terms.pop() {
        Some(only) if terms.is_empty() => only,
        Some(last) => {
            terms.push(last);
            several(terms)
        }
        None => several(terms),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Filter, ApiError> {
        parse(text, &HashMap::from([("p".to_owned(), "'x y'".to_owned())]))
    }

    fn equal(property: &str, literal: Literal) -> Filter {
        Filter::Compare { property: property.to_owned(), operator: Operator::Equal, literal }
    }

    #[test]
    fn and_binds_closer_than_or_and_brackets_win() {
        let (a, b, c) = (
            equal("a", Literal::Integer(1)),
            equal("b", Literal::Text("O'B".into())),
            equal("c", Literal::Null),
        );
        assert_eq!(
            parsed("a eq 1 or b eq 'O''B' and c eq null").unwrap(),
            Filter::Or(vec![a.clone(), Filter::And(vec![b.clone(), c.clone()])])
        );
        assert_eq!(
            parsed("(a eq 1 or b eq 'O''B') and not (c eq null)").unwrap(),
            Filter::And(vec![Filter::Or(vec![a, b]), Filter::Not(Box::new(c))])
        );
    }

    #[test]
    fn functions_aliases_and_enumeration_members_are_understood() {
        assert_eq!(
            parsed("startswith(name,'A, (B')").unwrap(),
            Filter::Match { part: Part::Start, property: "name".into(), text: "A, (B".into() }
        );
        assert_eq!(parsed("a eq @p").unwrap(), equal("a", Literal::Text("x y".into())));
        assert_eq!(
            parsed("a eq Microsoft.Dynamics.CRM.AttributeTypeCode'Picklist'").unwrap(),
            equal(
                "a",
                Literal::Member {
                    of: "Microsoft.Dynamics.CRM.AttributeTypeCode".into(),
                    name: "Picklist".into()
                }
            )
        );
    }

    #[test]
    fn lists_are_read_as_the_service_spells_them_and_what_is_not_played_says_so() {
        assert_eq!(
            parsed("Microsoft.Dynamics.CRM.In(PropertyName='name',PropertyValues=['a','b''c'])").unwrap(),
            Filter::Among { how: Among::In, property: "name".into(), values: vec!["a".into(), "b'c".into()] }
        );
        for text in ["contacts/any(c:c/name eq 'x')", "year(createdon) eq 2024", "tolower(name) eq 'x'"] {
            assert_eq!(parsed(text).unwrap_err().status, 501, "{text}");
        }
        for text in [
            "Microsoft.Dynamics.CRM.In(PropertyName='name')",
            "Microsoft.Dynamics.CRM.In(PropertyName='name',PropertyValues=[5])",
            "Microsoft.Dynamics.CRM.In(PropertyName='name',PropertyValues=['a')",
        ] {
            assert_eq!(parsed(text).unwrap_err().status, 400, "{text}");
        }
    }

    #[test]
    fn nonsense_is_refused_and_so_is_endless_nesting() {
        for text in ["", "a", "a eq", "a eq 1 b", "a like 'x'", "(a eq 1", "a eq 'x", "a eq @q"] {
            assert_eq!(parsed(text).unwrap_err().status, 400, "{text}");
        }
        assert_eq!(parsed(&"(".repeat(100_000)).unwrap_err().status, 400);
        assert_eq!(parsed(&"not ".repeat(100_000)).unwrap_err().status, 400);
    }
}
