//! Checks the declarations of the production code: unique type names, a limit of methods for a type, and a
//! doc sentence for each public constant and field.

use std::collections::BTreeMap;

use syn::visit::{self, Visit};
use syn::{Attribute, Expr, Fields, ImplItem, ItemImpl, Lit, Meta, Type, Visibility};

use super::production::{CRATES, Module, modules, parse};
use super::{assert_none, assert_within_allowance};

tests! {
    no_type_name_is_defined_twice_in_a_crate,
    no_type_has_more_than_thirty_methods,
    every_public_constant_and_field_has_a_doc_sentence,
    declaration_checks_find_violations,
}

const MAX_METHODS: usize = 30;
const MIN_DOC_WORDS: usize = 3;
/// The first words of a doc comment that does not stand alone.
const FRAGMENT_OPENINGS: [&str; 17] = [
    "Who", "Whom", "Whose", "Which", "What", "Why", "How", "When", "Where", "Whether", "If", "And", "Or",
    "But", "Such", "Likewise", "Same",
];

/// The declarations of a crate.
#[derive(Default)]
struct Declarations {
    /// The file of each definition, by the name of the type.
    types: BTreeMap<String, Vec<String>>,
    /// The number of inherent methods, by the name of the type.
    methods: BTreeMap<String, usize>,
    /// Public constants and fields whose doc does not stand alone.
    undocumented: Vec<String>,
    /// The file that is being read.
    file: String,
}

impl Declarations {
    fn of_modules(modules: &[Module]) -> Self {
        let mut found = Self::default();
        for module in modules {
            found.file.clone_from(&module.file_path);
            found.visit_file(&module.file);
        }
        found
    }

    fn add_type(&mut self, name: &syn::Ident) {
        self.types.entry(name.to_string()).or_default().push(self.file.clone());
    }

    fn check_doc(&mut self, name: &str, visibility: &Visibility, attributes: &[Attribute]) {
        if matches!(visibility, Visibility::Public(_)) && !stands_alone(&doc_text(attributes)) {
            self.undocumented.push(format!("{}: {name}", self.file));
        }
    }

    fn check_fields(&mut self, owner: &syn::Ident, fields: &Fields) {
        for field in fields {
            let name = field.ident.as_ref().map_or_else(String::new, ToString::to_string);
            if !name.is_empty() {
                self.check_doc(&format!("{owner}.{name}"), &field.vis, &field.attrs);
            }
        }
    }

    fn duplicates(&self) -> Vec<String> {
        let twice = self.types.iter().filter(|(_, files)| files.len() > 1);
        twice.map(|(name, files)| format!("{name}: {}", files.join(", "))).collect()
    }

    fn too_many_methods(&self) -> Vec<String> {
        let many = self.methods.iter().filter(|(_, count)| **count > MAX_METHODS);
        many.map(|(name, count)| format!("{}: {name} has {count}", self.types[name].join(", "))).collect()
    }
}

impl<'ast> Visit<'ast> for Declarations {
    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        self.add_type(&item.ident);
        self.check_fields(&item.ident, &item.fields);
    }

    fn visit_item_enum(&mut self, item: &'ast syn::ItemEnum) {
        self.add_type(&item.ident);
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        self.add_type(&item.ident);
        visit::visit_item_trait(self, item);
    }

    fn visit_item_type(&mut self, item: &'ast syn::ItemType) {
        self.add_type(&item.ident);
    }

    fn visit_item_const(&mut self, item: &'ast syn::ItemConst) {
        self.check_doc(&item.ident.to_string(), &item.vis, &item.attrs);
    }

    fn visit_impl_item_const(&mut self, item: &'ast syn::ImplItemConst) {
        self.check_doc(&item.ident.to_string(), &item.vis, &item.attrs);
    }

    /// A macro that takes the definition of an enum defines that enum.
    fn visit_item_macro(&mut self, item: &'ast syn::ItemMacro) {
        if let Ok(defined) = syn::parse2::<syn::ItemEnum>(item.mac.tokens.clone()) {
            self.add_type(&defined.ident);
        }
    }

    fn visit_item_impl(&mut self, item: &'ast ItemImpl) {
        if let (None, Type::Path(path)) = (&item.trait_, item.self_ty.as_ref())
            && let Some(name) = path.path.segments.last()
        {
            let count = item.items.iter().filter(|item| matches!(item, ImplItem::Fn(_))).count();
            *self.methods.entry(name.ident.to_string()).or_default() += count;
        }
        visit::visit_item_impl(self, item);
    }
}

fn doc_text(attributes: &[Attribute]) -> String {
    let lines = attributes.iter().filter_map(|attribute| match &attribute.meta {
        Meta::NameValue(meta) if meta.path.is_ident("doc") => match &meta.value {
            Expr::Lit(literal) => match &literal.lit {
                Lit::Str(text) => Some(text.value()),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    });
    lines.collect::<Vec<_>>().join("\n").trim().to_owned()
}

/// True for a doc comment that reads as a sentence or noun phrase without the name below it.
fn stands_alone(doc: &str) -> bool {
    let first = doc.split("\n\n").next().unwrap_or_default();
    let opening = first.split([' ', ',', '.', '\n']).next().unwrap_or_default();
    first.split_whitespace().count() >= MIN_DOC_WORDS
        && first.ends_with(['.', ':', '|'])
        && !FRAGMENT_OPENINGS.contains(&opening)
}

fn assert_in_crates(check: &str, advice: &str, find: impl Fn(&Declarations) -> Vec<String>) {
    let find_in = |name| (name, find(&Declarations::of_modules(&modules(name))));
    assert_within_allowance(check, &CRATES.map(find_in).into(), advice);
}

fn no_type_name_is_defined_twice_in_a_crate() {
    assert_in_crates("types", "each type of a crate has a name of its own", Declarations::duplicates);
}

fn no_type_has_more_than_thirty_methods() {
    let what = "make parts that own their state; a type has at most 30 methods";
    assert_in_crates("methods", what, Declarations::too_many_methods);
}

fn every_public_constant_and_field_has_a_doc_sentence() {
    let what = "the doc of a public constant or field is a sentence or noun phrase of at least three words";
    assert_in_crates("docs", what, |found| found.undocumented.clone());
}

fn declaration_checks_find_violations() {
    let text = "word_enum! { enum B { One = \"one\" } }
        struct A; mod inner { pub struct A { /// Who.\n pub by: u8, /// The author's node id.\n pub \
        author: u8 } }
        /// Bytes that one frame may have.\n pub const MAX_FRAME_BYTES: u8 = 1;
        impl A { fn one(&self) {} } impl A { fn two(&self) {} } impl Clone for A { fn clone(&self) {} }";
    let mut found = Declarations::default();
    found.visit_file(&parse(text).expect("it is Rust"));
    assert_eq!((found.types["A"].len(), found.types["B"].len()), (2, 1));
    assert_eq!(found.methods["A"], 2);
    assert_none(&found.undocumented[1..], "only one lacks a doc");
    assert!(found.undocumented[0].contains("A.by"), "{:?}", found.undocumented);
}
