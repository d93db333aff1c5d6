//! The Liquid we offer: the library's tags and filters, each behind a guard, and loops and captures of our own.
//!
//! Not offered: `include`, `render`, `tablerow`, `raw`, `cycle`, `ifchanged`, `increment`, `decrement`. Trigger texts
//! do not use them, and each would need a guard of its own.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use liquid_core::model::{KString, Object, Value, ValueCow, ValueView};
use liquid_core::parser::TryMatchToken;
use liquid_core::runtime::{Interrupt, InterruptRegister, Renderable, Template as Elements};
use liquid_core::{
    BlockReflection, Error, Expression, Language, ParseBlock, Result, Runtime, TagBlock, TagTokenIter,
};
use liquid_lib::stdlib;

use super::filters;
use super::runtime::{Capped, Turn, charge, check, fail};

/// Blocks inside blocks; reading them recurses.
const DEPTH_MAX: usize = 20;
/// Loops inside loops (DESIGN §9).
const LOOPS_MAX: usize = 2;
/// Turns of one loop.
const TURNS_MAX: usize = 1000;
/// Octets of one value that a template makes.
pub(super) const VALUE_MAX: u64 = 64 * 1024;

/// The language for one template, whose loops pay `weight` for each turn.
pub(super) fn language(weight: u64) -> Language {
    let mut language = Language::empty();
    let depth = Depth::default();
    register_block(&mut language, Nested { block: stdlib::IfBlock, depth: depth.clone() });
    register_block(&mut language, Nested { block: stdlib::UnlessBlock, depth: depth.clone() });
    register_block(&mut language, Nested { block: stdlib::CaseBlock, depth: depth.clone() });
    register_block(&mut language, Nested { block: CommentBlock, depth: depth.clone() });
    register_block(&mut language, Nested { block: CaptureBlock, depth: depth.clone() });
    let for_block = ForBlock { weight, loops: depth.loops.clone() };
    register_block(&mut language, Nested { block: for_block, depth });
    language.tags.register("assign".to_owned(), stdlib::AssignTag.into());
    language.tags.register("break".to_owned(), stdlib::BreakTag.into());
    language.tags.register("continue".to_owned(), stdlib::ContinueTag.into());
    filters::register(&mut language.filters);
    language
}

fn register_block<B: ParseBlock + Clone + 'static>(language: &mut Language, block: B) {
    let name = block.reflection().start_tag().to_owned();
    language.blocks.register(name, block.into());
}

#[derive(Clone, Default)]
struct Depth {
    blocks: Arc<AtomicUsize>,
    loops: Arc<AtomicUsize>,
}

/// A block that may stand inside others only so deep.
#[derive(Clone)]
struct Nested<B> {
    block: B,
    depth: Depth,
}

impl<B: ParseBlock + Clone + 'static> ParseBlock for Nested<B> {
    fn parse(
        &self,
        mut tag: TagTokenIter,
        body: TagBlock,
        language: &Language,
    ) -> Result<Box<dyn Renderable>> {
        let outer = self.depth.blocks.fetch_add(1, Ordering::Relaxed);
        let parsed = if outer < DEPTH_MAX {
            self.block.parse(tag, body, language)
        } else {
            Err(tag.raise_error("blocks are nested too deep: expected at most 20"))
        };
        self.depth.blocks.fetch_sub(1, Ordering::Relaxed);
        parsed
    }

    fn reflection(&self) -> &dyn BlockReflection {
        self.block.reflection()
    }
}

/// `{% comment %}…{% endcomment %}`: what stands in it is skipped, not read. (The library's own goes on reading after a
/// mistake in it, and panics at the end of the file.)
#[derive(Clone)]
struct CommentBlock;

impl BlockReflection for CommentBlock {
    fn start_tag(&self) -> &'static str {
        "comment"
    }
    fn end_tag(&self) -> &'static str {
        "endcomment"
    }
    fn description(&self) -> &'static str {
        ""
    }
}

impl ParseBlock for CommentBlock {
    fn parse(&self, mut tag: TagTokenIter, mut body: TagBlock, _: &Language) -> Result<Box<dyn Renderable>> {
        tag.expect_nothing()?;
        while body.next()?.is_some() {}
        Ok(Box::new(Elements::new(Vec::new())))
    }

    fn reflection(&self) -> &dyn BlockReflection {
        self
    }
}

/// `{% capture name %}…{% endcapture %}`, up to the length of a value.
#[derive(Clone)]
struct CaptureBlock;

impl BlockReflection for CaptureBlock {
    fn start_tag(&self) -> &'static str {
        "capture"
    }
    fn end_tag(&self) -> &'static str {
        "endcapture"
    }
    fn description(&self) -> &'static str {
        ""
    }
}

impl ParseBlock for CaptureBlock {
    fn parse(
        &self,
        mut tag: TagTokenIter,
        mut body: TagBlock,
        language: &Language,
    ) -> Result<Box<dyn Renderable>> {
        let name = tag.expect_next("Identifier expected.")?.expect_identifier().into_result()?;
        let name = KString::from_ref(name);
        tag.expect_nothing()?;
        let body = Elements::new(body.parse_all(language)?);
        Ok(Box::new(Capture { name, body }))
    }

    fn reflection(&self) -> &dyn BlockReflection {
        self
    }
}

#[derive(Debug)]
struct Capture {
    name: KString,
    body: Elements,
}

impl Renderable for Capture {
    fn render_to(&self, _writer: &mut dyn Write, runtime: &dyn Runtime) -> Result<()> {
        check(runtime)?;
        let mut captured = Capped::new(usize::try_from(VALUE_MAX).unwrap_or(usize::MAX));
        let rendered = self.body.render_to(&mut captured, runtime);
        if captured.overflowed() {
            return Err(fail(runtime, "a captured text is too long: expected at most 65536 octets"));
        }
        rendered?;
        let captured = captured.into_text();
        charge(runtime, captured.len() as u64 / 64);
        runtime.set_global(self.name.clone(), Value::scalar(captured));
        check(runtime)
    }
}

/// `{% for name in list %}…{% else %}…{% endfor %}` over a list or a literal range.
#[derive(Clone)]
struct ForBlock {
    weight: u64,
    loops: Arc<AtomicUsize>,
}

impl BlockReflection for ForBlock {
    fn start_tag(&self) -> &'static str {
        "for"
    }
    fn end_tag(&self) -> &'static str {
        "endfor"
    }
    fn description(&self) -> &'static str {
        ""
    }
}

impl ParseBlock for ForBlock {
    fn parse(
        &self,
        mut tag: TagTokenIter,
        mut body: TagBlock,
        language: &Language,
    ) -> Result<Box<dyn Renderable>> {
        let name = tag.expect_next("Identifier expected.")?.expect_identifier().into_result()?;
        let mut for_loop = For { name: KString::from_ref(name), weight: self.weight, ..For::default() };
        tag.expect_next("`in` expected.")?.expect_str("in").into_result_custom_msg("`in` expected.")?;
        for_loop.over = over(&mut tag)?;
        while let Some(token) = tag.next() {
            match token.as_str() {
                "limit" => for_loop.limit = Some(attribute(&mut tag)?),
                "offset" => for_loop.offset = Some(attribute(&mut tag)?),
                "reversed" => for_loop.reversed = true,
                _ => return Err(token.raise_custom_error("`limit`, `offset` or `reversed` expected.")),
            }
        }
        let outer = self.loops.fetch_add(1, Ordering::Relaxed);
        let parsed = if outer < LOOPS_MAX {
            parse_body(&mut for_loop, &mut body, language)
        } else {
            Err(tag.raise_error("loops are nested too deep: expected at most 2"))
        };
        self.loops.fetch_sub(1, Ordering::Relaxed);
        parsed.map(|()| Box::new(for_loop) as Box<dyn Renderable>)
    }

    fn reflection(&self) -> &dyn BlockReflection {
        self
    }
}

fn parse_body(for_loop: &mut For, body: &mut TagBlock, language: &Language) -> Result<()> {
    use liquid_core::parser::BlockElement;
    let mut elements = Vec::new();
    while let Some(element) = body.next()? {
        match element {
            BlockElement::Tag(tag) if tag.name() == "else" => {
                for_loop.otherwise = Some(Elements::new(body.parse_all(language)?));
                break;
            }
            element => elements.push(element.parse(body, language)?),
        }
    }
    for_loop.body = Some(Elements::new(elements));
    Ok(())
}

/// A range must be literal and short, so that its turns are known before it runs (DESIGN §9).
fn over(tag: &mut TagTokenIter) -> Result<Over> {
    let token = match tag.expect_next("List or range expected.")?.expect_value() {
        TryMatchToken::Matches(list) => return Ok(Over::List(list)),
        TryMatchToken::Fails(token) => token,
    };
    let (start, stop) = token.expect_range().into_result()?;
    let bound = |end: Expression| end.into_literal().and_then(|value| value.as_scalar()?.to_integer());
    let (Some(start), Some(stop)) = (bound(start), bound(stop)) else {
        return Err(tag.raise_error("the range is not literal: expected two numbers, as in (1..5)"));
    };
    let length = i128::from(stop) - i128::from(start) + 1;
    if length > TURNS_MAX as i128 {
        return Err(tag.raise_error("the range is too long: expected at most 1000 numbers"));
    }
    Ok(Over::Range(start, stop))
}

fn attribute(tag: &mut TagTokenIter) -> Result<Expression> {
    tag.expect_next("`:` expected.")?.expect_str(":").into_result_custom_msg("`:` expected.")?;
    tag.expect_next("Value expected.")?.expect_value().into_result()
}

#[derive(Debug)]
enum Over {
    List(Expression),
    Range(i64, i64),
}

impl Default for Over {
    fn default() -> Self {
        Self::Range(1, 0)
    }
}

#[derive(Debug, Default)]
struct For {
    name: KString,
    over: Over,
    limit: Option<Expression>,
    offset: Option<Expression>,
    reversed: bool,
    body: Option<Elements>,
    otherwise: Option<Elements>,
    weight: u64,
}

impl Renderable for For {
    fn render_to(&self, writer: &mut dyn Write, runtime: &dyn Runtime) -> Result<()> {
        check(runtime)?;
        let list = match &self.over {
            Over::List(list) => list.evaluate(runtime)?,
            Over::Range(start, stop) => ValueCow::Owned(Value::array((*start..=*stop).map(Value::scalar))),
        };
        let offset = count(self.offset.as_ref(), runtime)?.unwrap_or(0);
        let limit = count(self.limit.as_ref(), runtime)?.unwrap_or(TURNS_MAX).min(TURNS_MAX);
        let mut items: Vec<ValueCow> = items(&list).into_iter().skip(offset).take(limit).collect();
        if self.reversed {
            items.reverse();
        }
        let body = if items.is_empty() { &self.otherwise } else { &self.body };
        let Some(body) = body else { return Ok(()) };
        if items.is_empty() {
            return body.render_to(writer, runtime);
        }
        for (index, item) in items.iter().enumerate() {
            charge(runtime, self.weight);
            check(runtime)?;
            let forloop = Value::Object(forloop(index, items.len()));
            let turn = Turn { outer: runtime, name: &self.name, item: item.as_view(), forloop: &forloop };
            body.render_to(writer, &turn)?;
            let interrupt = runtime.registers().get_mut::<InterruptRegister>().reset();
            if matches!(interrupt, Some(Interrupt::Break)) {
                break;
            }
        }
        Ok(())
    }
}

/// What a loop walks over: a list; the pairs of an object, by name; one value alone.
fn items<'v>(list: &'v ValueCow<'v>) -> Vec<ValueCow<'v>> {
    let view = list.as_view();
    if let Some(list) = view.as_array() {
        return list.values().map(ValueCow::Borrowed).collect();
    }
    if let Some(object) = view.as_object() {
        let pair = |key: String, value: &dyn ValueView| Value::array([Value::scalar(key), value.to_value()]);
        let mut fields: Vec<(String, &dyn ValueView)> =
            object.iter().map(|(key, value)| (key.into_string(), value)).collect();
        fields.sort_by(|(left, _), (right, _)| left.cmp(right));
        return fields.into_iter().map(|(key, value)| ValueCow::Owned(pair(key, value))).collect();
    }
    if view.is_nil() { Vec::new() } else { vec![ValueCow::Borrowed(view)] }
}

fn count(expression: Option<&Expression>, runtime: &dyn Runtime) -> Result<Option<usize>> {
    let Some(expression) = expression else { return Ok(None) };
    let value = expression.evaluate(runtime)?;
    let number = value.as_scalar().and_then(|scalar| scalar.to_integer());
    let number = number.ok_or_else(|| Error::with_msg("`limit` and `offset` must be whole numbers"))?;
    Ok(Some(usize::try_from(number).unwrap_or(0)))
}

fn forloop(index: usize, length: usize) -> Object {
    let number = |number: usize| Value::scalar(i64::try_from(number).unwrap_or(i64::MAX));
    let left = length.saturating_sub(index);
    let mut object = Object::new();
    object.insert("length".into(), number(length));
    object.insert("index0".into(), number(index));
    object.insert("index".into(), number(index.saturating_add(1)));
    object.insert("rindex".into(), number(left));
    object.insert("rindex0".into(), number(left.saturating_sub(1)));
    object.insert("first".into(), Value::scalar(index == 0));
    object.insert("last".into(), Value::scalar(left == 1));
    object
}
