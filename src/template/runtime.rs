//! Where a template runs: lenient about what it does not know, strict about what it costs.
//!
//! **Invariant:** looking something up never fails. (The library looks some things up twice and would panic if
//! only the second answer were an error.) What cannot go on is noted as a fault, and the next loop, filter or
//! write ends the rendering.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Error as IoError, Write};
use std::sync::Arc;

use liquid_core::model::{
    KString, KStringCow, KStringRef, Object, ObjectView, ScalarCow, Value, ValueCow, ValueView, try_find,
};
use liquid_core::runtime::{PartialStore, Registers, Renderable, Runtime};
use liquid_core::{Error, Result};

use crate::domain::ids::CommentId;

use super::values::Values;

/// Units of work one mail may cost: about a second in the worst case, thousands of times what a real one needs.
const BUDGET: u64 = 2_000_000;
/// What all variables of a template may hold together, in octets.
const VARIABLES_MAX: u64 = 2 * 1024 * 1024;

/// The values, the template's own variables, and the account of what it cost and looked at.
pub(super) struct Desk<'v> {
    values: &'v Values,
    globals: Object,
    variables: RefCell<Object>,
    variables_size: Cell<u64>,
    /// Keys of `ticket` that were looked at; the empty key is the ticket as a whole.
    looked_at: RefCell<BTreeSet<String>>,
    registers: Registers,
}

/// Kept in the registers, the one place that filters and blocks can reach.
#[derive(Default)]
struct Account {
    spent: u64,
    fault: Option<&'static str>,
}

/// Pays for work to be done.
pub(super) fn charge(runtime: &dyn Runtime, units: u64) {
    let mut account = runtime.registers().get_mut::<Account>();
    account.spent = account.spent.saturating_add(units);
    if account.spent > BUDGET {
        account.fault.get_or_insert("the template takes too much work to render");
    }
}

/// Notes that rendering cannot go on.
pub(super) fn fail(runtime: &dyn Runtime, what: &'static str) -> Error {
    runtime.registers().get_mut::<Account>().fault.get_or_insert(what);
    Error::with_msg(what)
}

/// Ends the rendering if something went wrong before.
pub(super) fn check(runtime: &dyn Runtime) -> Result<()> {
    let fault = runtime.registers().get_mut::<Account>().fault;
    fault.map_or(Ok(()), |what| Err(Error::with_msg(what)))
}

/// Octets of text in a value, with a little for each part.
pub(super) fn size(value: &dyn ValueView) -> u64 {
    const PART: u64 = 16;
    if let Some(list) = value.as_array() {
        return list.values().map(|item| size(item) + PART).sum();
    }
    if let Some(object) = value.as_object() {
        return object.values().map(|item| size(item) + PART).sum();
    }
    if value.is_nil() { 0 } else { value.to_kstr().len() as u64 }
}

impl<'v> Desk<'v> {
    pub(super) fn new(values: &'v Values) -> Self {
        Self {
            values,
            globals: values.to_object(),
            variables: RefCell::default(),
            variables_size: Cell::new(0),
            looked_at: RefCell::default(),
            registers: Registers::default(),
        }
    }

    pub(super) fn charge(&self, units: u64) {
        charge(self, units);
    }

    pub(super) fn fault(&self) -> Option<String> {
        self.registers.get_mut::<Account>().fault.map(str::to_owned)
    }

    /// The comments that the placeholders looked at so far hold, and whether each is private.
    pub(super) fn shown(&self) -> BTreeMap<CommentId, bool> {
        let looked_at = self.looked_at.borrow();
        let whole = looked_at.contains("");
        let sources = self.values.sources.iter();
        let used = sources.filter(|(placeholder, _)| whole || looked_at.contains(placeholder.as_str()));
        used.flat_map(|(_, comments)| comments).map(|shown| (shown.comment, shown.private)).collect()
    }

    fn look(&self, path: &[ScalarCow<'_>]) {
        if path.first().is_some_and(|root| root.to_kstr() == "ticket") {
            let key = path.get(1).map_or_else(String::new, |key| key.to_kstr().into_string());
            self.looked_at.borrow_mut().insert(key);
        }
    }
}

impl Runtime for Desk<'_> {
    fn partials(&self) -> &dyn PartialStore {
        &NoPartials
    }

    fn name(&self) -> Option<KStringRef<'_>> {
        None
    }

    fn roots(&self) -> BTreeSet<KStringCow<'_>> {
        ObjectView::keys(&self.globals).collect()
    }

    fn try_get(&self, path: &[ScalarCow<'_>]) -> Option<ValueCow<'_>> {
        let root = path.first()?.to_kstr();
        let variables = self.variables.borrow();
        let found = if variables.contains_key(root.as_str()) {
            try_find(&*variables, path).map(|value| ValueCow::Owned(value.into_owned()))
        } else {
            self.look(path);
            try_find(&self.globals, path)
        };
        let cost = found.as_ref().map_or(0, |value| size(value.as_view()) / 64);
        self.charge(1 + cost);
        found
    }

    fn get(&self, path: &[ScalarCow<'_>]) -> Result<ValueCow<'_>> {
        Ok(self.try_get(path).unwrap_or(ValueCow::Owned(Value::Nil)))
    }

    fn set_global(&self, name: KString, value: Value) -> Option<Value> {
        let mut variables = self.variables.borrow_mut();
        let before = variables.get(&name).map_or(0, |old| size(old));
        let after = self.variables_size.get().saturating_sub(before).saturating_add(size(&value));
        if after > VARIABLES_MAX {
            fail(self, "the variables of the template grow too long");
            return None;
        }
        self.variables_size.set(after);
        variables.insert(name, value)
    }

    /// For `increment` and `decrement`, which are not offered.
    fn set_index(&self, _name: KString, _value: Value) -> Option<Value> {
        None
    }

    fn get_index<'a>(&'a self, _name: &str) -> Option<ValueCow<'a>> {
        None
    }

    fn registers(&self) -> &Registers {
        &self.registers
    }
}

/// One turn of a loop: its variable and `forloop` in front of everything else.
pub(super) struct Turn<'a> {
    pub(super) outer: &'a dyn Runtime,
    pub(super) name: &'a str,
    pub(super) item: &'a dyn ValueView,
    pub(super) forloop: &'a dyn ValueView,
}

impl Runtime for Turn<'_> {
    fn partials(&self) -> &dyn PartialStore {
        self.outer.partials()
    }

    fn name(&self) -> Option<KStringRef<'_>> {
        self.outer.name()
    }

    fn roots(&self) -> BTreeSet<KStringCow<'_>> {
        self.outer.roots()
    }

    fn try_get(&self, path: &[ScalarCow<'_>]) -> Option<ValueCow<'_>> {
        let (root, rest) = path.split_first()?;
        let root = root.to_kstr();
        let value = match root.as_str() {
            name if name == self.name => self.item,
            "forloop" => self.forloop,
            _ => return self.outer.try_get(path),
        };
        let found = try_find(value, rest);
        charge(self, 1 + found.as_ref().map_or(0, |value| size(value.as_view()) / 64));
        found
    }

    fn get(&self, path: &[ScalarCow<'_>]) -> Result<ValueCow<'_>> {
        Ok(self.try_get(path).unwrap_or(ValueCow::Owned(Value::Nil)))
    }

    fn set_global(&self, name: KString, value: Value) -> Option<Value> {
        self.outer.set_global(name, value)
    }

    fn set_index(&self, name: KString, value: Value) -> Option<Value> {
        self.outer.set_index(name, value)
    }

    fn get_index<'a>(&'a self, name: &str) -> Option<ValueCow<'a>> {
        self.outer.get_index(name)
    }

    fn registers(&self) -> &Registers {
        self.outer.registers()
    }
}

/// Output up to a length; what goes beyond ends the rendering.
pub(super) struct Capped {
    bytes: Vec<u8>,
    max: usize,
    overflowed: bool,
}

impl Capped {
    pub(super) fn new(max: usize) -> Self {
        Self { bytes: Vec::new(), max, overflowed: false }
    }

    pub(super) fn overflowed(&self) -> bool {
        self.overflowed
    }

    pub(super) fn into_text(self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

impl Write for Capped {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.bytes.len().saturating_add(bytes.len()) > self.max {
            self.overflowed = true;
            return Err(IoError::other("the output is too long"));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// `include` and `render` are not offered, so there are no partial templates.
#[derive(Debug)]
struct NoPartials;

impl PartialStore for NoPartials {
    fn contains(&self, _name: &str) -> bool {
        false
    }

    fn names(&self) -> Vec<&str> {
        Vec::new()
    }

    fn try_get(&self, _name: &str) -> Option<Arc<dyn Renderable>> {
        None
    }

    fn get(&self, _name: &str) -> Result<Arc<dyn Renderable>> {
        Err(Error::with_msg("there are no partial templates"))
    }
}
