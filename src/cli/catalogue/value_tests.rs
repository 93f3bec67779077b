//! Every sentence gets its values: each call that names one is looked at as the compiler reads it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use syn::visit::Visit;

use super::{ENGLISH, lines, tests};

/// A place where a message is made: the keys that it may have, and the values that it is given there.
#[derive(Debug)]
struct Made {
    keys: Vec<String>,
    values: BTreeSet<String>,
    line: usize,
}

/// What is made in one function.
#[derive(Debug, Default)]
struct Within {
    made: Vec<Made>,
    /// Values that are given to messages in variables: which ones can't be known.
    to_variables: BTreeSet<String>,
}

#[derive(Default)]
struct Functions {
    open: Vec<Within>,
    done: Vec<Within>,
}

impl Functions {
    fn of(text: &str) -> Vec<Within> {
        let mut functions = Self::default();
        functions.visit_file(&syn::parse_file(text).unwrap());
        functions.done
    }

    fn within(&mut self, visit: impl FnOnce(&mut Self)) {
        self.open.push(Within::default());
        visit(self);
        let within = self.open.pop().expect("it was opened above");
        self.done.push(within);
    }
}

/// The literals of an expression: the key, or those of which one is chosen.
#[derive(Default)]
struct Keys(Vec<String>);

impl<'ast> Visit<'ast> for Keys {
    fn visit_lit_str(&mut self, literal: &'ast syn::LitStr) {
        self.0.push(literal.value());
    }

    /// What is matched is no key.
    fn visit_expr_match(&mut self, expression: &'ast syn::ExprMatch) {
        expression.arms.iter().for_each(|arm| self.visit_expr(&arm.body));
    }

    fn visit_expr_if(&mut self, expression: &'ast syn::ExprIf) {
        self.visit_block(&expression.then_branch);
        expression.else_branch.iter().for_each(|(_, other)| self.visit_expr(other));
    }
}

fn makes_a_message(call: &syn::ExprCall) -> bool {
    let syn::Expr::Path(function) = &*call.func else { return false };
    let names: Vec<String> = function.path.segments.iter().map(|segment| segment.ident.to_string()).collect();
    names.ends_with(&["Message".to_owned(), "new".to_owned()])
}

impl<'ast> Visit<'ast> for Functions {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        let is_test = item.attrs.iter().any(|attribute| attribute.path().is_ident("cfg"));
        if !is_test {
            syn::visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.within(|this| syn::visit::visit_item_fn(this, item));
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.within(|this| syn::visit::visit_impl_item_fn(this, item));
    }

    fn visit_expr(&mut self, expression: &'ast syn::Expr) {
        let (mut base, mut values) = (expression, BTreeSet::new());
        while let syn::Expr::MethodCall(call) = base {
            if call.method == "with"
                && let Some(syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(name), .. })) = call.args.first()
            {
                values.insert(name.value());
            }
            call.args.iter().for_each(|argument| self.visit_expr(argument));
            base = &call.receiver;
        }
        match base {
            syn::Expr::Call(call) if makes_a_message(call) => {
                let mut keys = Keys::default();
                call.args.iter().for_each(|argument| keys.visit_expr(argument));
                let line = call.paren_token.span.open().start().line;
                if let Some(within) = self.open.last_mut() {
                    within.made.push(Made { keys: keys.0, values, line });
                }
            }
            _ => {
                if let Some(within) = self.open.last_mut() {
                    within.to_variables.extend(values);
                }
            }
        }
        syn::visit::visit_expr(self, base);
    }
}

/// The values that a sentence is filled with.
fn wanted() -> BTreeMap<&'static str, BTreeSet<String>> {
    let of = |sentence| {
        let placeholders = tests::placeholders(sentence).into_iter();
        placeholders.map(|name| name.split(':').next().unwrap_or_default().to_owned()).collect()
    };
    lines(ENGLISH).map(|(key, sentence)| (key, of(sentence))).collect()
}

fn without_values(text: &str, wanted: &BTreeMap<&'static str, BTreeSet<String>>) -> (usize, Vec<String>) {
    let (mut looked, mut wrong) = (0, Vec::new());
    for Within { made, to_variables } in Functions::of(text) {
        for Made { keys, values, line } in made {
            for key in keys {
                let Some(wanted) = wanted.get(key.as_str()) else { continue };
                looked += 1;
                let missing: Vec<_> = wanted.difference(&values).filter(|name| !to_variables.contains(*name)).collect();
                if !missing.is_empty() {
                    wrong.push(format!("line {line}: {key} is not given {missing:?}"));
                }
            }
        }
    }
    (looked, wrong)
}

#[test]
fn each_call_gives_its_sentence_all_values() {
    fn walk(folder: &Path, look: &mut dyn FnMut(&Path)) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, look);
            } else if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("tests.rs") {
                look(&path);
            }
        }
    }
    let wanted = wanted();
    let (mut looked, mut wrong) = (0, Vec::new());
    walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut |path| {
        let (calls, found) = without_values(&std::fs::read_to_string(path).unwrap(), &wanted);
        looked += calls;
        wrong.extend(found.into_iter().map(|found| format!("{}: {found}", path.display())));
    });
    assert!(looked > 300, "{looked} calls were found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_call_that_forgets_a_value_is_found() {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    let wanted = BTreeMap::from([("one", names(&["a", "b"])), ("two", names(&["a"]))]);
    let found = |body: &str| without_values(&format!("fn f() {{ {body} }}"), &wanted).1.len();
    assert_eq!(found(r#"Message::new("one").with("a", 1).with("b", 2);"#), 0);
    assert_eq!(found(r#"Message::new("one").with("a", 1); Message::new("one").with("a", 1).with("b", 2);"#), 1);
    assert_eq!(
        found(r#"say(&report::Message::new("one").with("a", x.with("b", 1)));"#),
        0,
        "it may be another message"
    );
    assert_eq!(found(r#"say(if x { Message::new("two") } else { Message::new("one").with("a", 1) });"#), 2);
    assert_eq!(found(r#"Message::new(match x { "no" => "one", _ => "two" }).with("a", 1);"#), 1);
    assert_eq!(found(r#"let m = Message::new("one").with("a", 1); m.with("b", 2);"#), 0);
    assert_eq!(found(r#"let m = Message::new("one").with("a", 1); } fn g() { m.with("b", 2);"#), 1);
}
