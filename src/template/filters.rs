//! Filters: the library's, each behind a guard that knows what it may grow to before it runs.
//!
//! The guard refuses numbers whose arithmetic could overflow and date formats with absurd widths (the library would
//! panic or fill memory), pays for the work, and lets a filter that cannot take "nothing" answer "nothing".
//!
//! The library keeps objects in no order, so the text of one would differ from run to run: as text they count as
//! nothing. `sort` and `sort_natural` are not offered: the first is no order for mixed values, which may panic, and
//! both order objects by their text.

use std::fmt;

use liquid_core::model::{Value, ValueCow, ValueView};
use liquid_core::parser::{FilterArguments, ParameterReflection, PluginRegistry};
use liquid_core::{Expression, Filter, FilterReflection, ParseFilter, Result, Runtime};
use liquid_lib::stdlib;

use super::html;
use super::language::VALUE_MAX;
use super::runtime::{charge, check, fail, size};

/// Items of a list that a filter makes.
const ITEMS_MAX: usize = 1000;
/// Octets of a list: comments of a ticket are capped to stay below (`values`).
const LIST_MAX: u64 = 1024 * 1024;
/// Whole numbers that calculate safely: the product of two fits 64 bits.
const NUMBER_MAX: u64 = 1_000_000_000;

/// Appended to each placeholder (`source::prepare`): what is shown of a value, …
pub(super) const SHOW_VALUE: &str = "show_value";
/// … and in an HTML template, escaped.
pub(super) const ESCAPE_VALUE: &str = "escape_value";

macro_rules! guarded {
    ($registry:ident: $($growth:ident($($filter:ident),* $(,)?))*) => {
        $($(register_one($registry, stdlib::$filter.into(), Growth::$growth);)*)*
    };
}

pub(super) fn register(registry: &mut PluginRegistry<Box<dyn ParseFilter>>) {
    guarded!(registry:
        Sum(Append, Prepend, Capitalize, Downcase, Lstrip, Remove, RemoveFirst, ReplaceFirst, Rstrip, Split, Strip,
            StripHtml, StripNewlines, Upcase, UrlDecode)
        Items(Concat, Compact, Default, First, Last, Map, Reverse, Size, Where)
        Unique(Uniq)
        Triple(UrlEncode)
        Replace(Replace)
        Join(Join)
        Number(Abs, AtLeast, AtMost, Ceil, DividedBy, Floor, Minus, Modulo, Plus, Round, Slice, Times, Truncate,
            TruncateWords)
        Date(Date)
    );
    for name in ["escape", "escape_once", "newline_to_br"] {
        let filter = Own { name, run: |value| value.to_value() };
        registry.register(name.to_owned(), filter.into());
    }
    let show = Own { name: SHOW_VALUE, run: |value| Value::scalar(text_of(value)) };
    registry.register(SHOW_VALUE.to_owned(), show.into());
    let escape = Own { name: ESCAPE_VALUE, run: |value| Value::scalar(html::from_text(&text_of(value))) };
    registry.register(ESCAPE_VALUE.to_owned(), escape.into());
}

fn register_one(
    registry: &mut PluginRegistry<Box<dyn ParseFilter>>,
    filter: Box<dyn ParseFilter>,
    growth: Growth,
) {
    let name = filter.reflection().name().to_owned();
    registry.register(name, Guarded { filter, growth }.into());
}

/// How large a filter's answer can be, and what it must not be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Growth {
    /// At most input and arguments together.
    Sum,
    Triple,
    /// Each occurrence becomes the replacement.
    Replace,
    /// A separator between items.
    Join,
    /// Calculates, or counts characters.
    Number,
    Date,
    /// Works on lists of any values.
    Items,
    /// And compares each item with each.
    Unique,
}

/// The text of a value: of a list, that of its items; of an object, nothing.
fn text_of(value: &dyn ValueView) -> String {
    if let Some(list) = value.as_array() {
        return list.values().map(text_of).collect();
    }
    if value.is_object() || value.is_nil() { String::new() } else { value.to_kstr().into_string() }
}

fn holds_objects(value: &dyn ValueView) -> bool {
    value.is_object() || value.as_array().is_some_and(|list| list.values().any(holds_objects))
}

#[derive(Clone)]
struct Guarded {
    filter: Box<dyn ParseFilter>,
    growth: Growth,
}

impl ParseFilter for Guarded {
    fn parse(&self, arguments: FilterArguments) -> Result<Box<dyn Filter>> {
        let positional: Vec<Expression> = arguments.positional.collect();
        let filter = self.filter.parse(FilterArguments {
            positional: Box::new(positional.clone().into_iter()),
            keyword: arguments.keyword,
        })?;
        Ok(Box::new(GuardedFilter { filter, arguments: positional, growth: self.growth }))
    }

    fn reflection(&self) -> &dyn FilterReflection {
        self.filter.reflection()
    }
}

#[derive(Debug)]
struct GuardedFilter {
    filter: Box<dyn Filter>,
    arguments: Vec<Expression>,
    growth: Growth,
}

impl fmt::Display for GuardedFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.filter.fmt(f)
    }
}

impl Filter for GuardedFilter {
    fn evaluate(&self, input: &dyn ValueView, runtime: &dyn Runtime) -> Result<Value> {
        check(runtime)?;
        let arguments: Vec<ValueCow> =
            self.arguments.iter().map(|argument| argument.evaluate(runtime)).collect::<Result<_>>()?;
        // "now" would ask the system's clock; the values carry the time of the update.
        let now =
            (self.growth == Growth::Date && is_now(input)).then(|| runtime.get(&[NOW.into()])).transpose()?;
        let input = now.as_ref().map_or(input, ValueCow::as_view);
        let takes_text = !matches!(self.growth, Growth::Items | Growth::Unique);
        let input = if takes_text && holds_objects(input) { &Value::Nil } else { input };
        if takes_text && arguments.iter().any(|argument| holds_objects(argument.as_view())) {
            return Err(fail(runtime, "a filter was given an object: expected a text or a number"));
        }
        let estimate = self.growth.estimate(input, &arguments).map_err(|what| fail(runtime, what))?;
        if estimate > if input.is_array() { LIST_MAX } else { VALUE_MAX } {
            return Err(fail(runtime, "a value grows too long: expected at most 65536 octets"));
        }
        let comparisons =
            if self.growth == Growth::Unique { items(input).saturating_mul(estimate) } else { 0 };
        charge(runtime, 1 + estimate / 64 + comparisons / 64);
        check(runtime)?;
        let answer = match self.filter.evaluate(input, runtime) {
            Err(_) if size(input) == 0 => Value::Nil,
            answer => answer?,
        };
        if answer.as_array().is_some_and(|list| usize::try_from(list.size()).is_ok_and(|n| n > ITEMS_MAX)) {
            return Err(fail(runtime, "a list grows too long: expected at most 1000 items"));
        }
        Ok(answer)
    }
}

const NOW: &str = "now";

fn is_now(value: &dyn ValueView) -> bool {
    let text = value.to_kstr();
    text.eq_ignore_ascii_case(NOW) || text.eq_ignore_ascii_case("today")
}

impl Growth {
    fn estimate(
        self,
        input: &dyn ValueView,
        arguments: &[ValueCow],
    ) -> std::result::Result<u64, &'static str> {
        let own = size(input);
        let sum = arguments.iter().fold(own, |sum, argument| sum.saturating_add(size(argument.as_view())));
        let octets = match self {
            Self::Sum | Self::Items | Self::Unique => sum,
            Self::Triple => sum.saturating_mul(3),
            Self::Replace => sum.saturating_add(replaced(input, arguments)),
            Self::Join => own.saturating_add(items(input).saturating_mul(sum.saturating_sub(own))),
            Self::Number => {
                let numbers = arguments.iter().map(ValueCow::as_view).chain([input]);
                if numbers
                    .filter_map(|value| value.as_scalar()?.to_integer())
                    .any(|n| n.unsigned_abs() > NUMBER_MAX)
                {
                    return Err("a number is too large to calculate with: expected at most 1000000000");
                }
                sum
            }
            Self::Date => {
                let format =
                    arguments.first().map(|format| format.to_kstr().into_string()).unwrap_or_default();
                if format.split(|c: char| !c.is_ascii_digit()).any(|digits| digits.len() > 2) {
                    return Err("a width in the date format is too large: expected at most 99");
                }
                sum.saturating_mul(100)
            }
        };
        Ok(octets)
    }
}

fn items(value: &dyn ValueView) -> u64 {
    value.as_array().map_or(0, |list| list.size().unsigned_abs())
}

/// What `replace` adds at most: the replacement, as often as the search text occurs.
fn replaced(input: &dyn ValueView, arguments: &[ValueCow]) -> u64 {
    let input = input.to_kstr();
    let search = arguments.first().map(|search| search.to_kstr().into_string()).unwrap_or_default();
    let replacement = arguments.get(1).map_or(0, |replacement| size(replacement.as_view()));
    (input.matches(&search).count() as u64).saturating_mul(replacement)
}

/// A filter of ours: without arguments, never fails. Escaping is done where a value lands in HTML, so the filters
/// that authors use for it have nothing left to do.
#[derive(Clone, Debug)]
struct Own {
    name: &'static str,
    run: fn(&dyn ValueView) -> Value,
}

impl FilterReflection for Own {
    fn name(&self) -> &str {
        self.name
    }
    fn description(&self) -> &'static str {
        ""
    }
    fn positional_parameters(&self) -> &'static [ParameterReflection] {
        &[]
    }
    fn keyword_parameters(&self) -> &'static [ParameterReflection] {
        &[]
    }
}

impl ParseFilter for Own {
    fn parse(&self, _arguments: FilterArguments) -> Result<Box<dyn Filter>> {
        Ok(Box::new(self.clone()))
    }
    fn reflection(&self) -> &dyn FilterReflection {
        self
    }
}

impl fmt::Display for Own {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl Filter for Own {
    fn evaluate(&self, input: &dyn ValueView, runtime: &dyn Runtime) -> Result<Value> {
        charge(runtime, 1 + size(input) / 64);
        check(runtime)?;
        Ok((self.run)(input))
    }
}
