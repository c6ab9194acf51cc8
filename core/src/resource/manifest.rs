//! Manifests: the TOML files in which operators write resources.
//!
//! ```toml
//! [config.db]                      # one table for each resource: [kind.name]
//! path = "etc/db.properties"
//! keys.url = "jdbc:x"
//! keys.log = "file"
//! "keys.log.level" = "debug"       # quoted: TOML allows no key below a value, properties files do
//! ```

use std::collections::{BTreeMap, BTreeSet};

use super::edit::{Edit, EditError, FieldEdit};
use super::field::{FieldPath, FieldPathError};
use super::list_item::{self, ListItem};
use super::literal::{self, Literal, quote};
use super::name::ResourceName;
use super::schema;
use super::spelling::canonical_path;
use super::view::ResourceView;
use super::write_size::WriteSize;
use toml_edit::{Document, Item, Table, TableLike};

/// One resource of a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestEntry {
    /// The name of the resource.
    pub resource: ResourceName,
    /// The fields that the manifest sets, in order.
    pub fields: Vec<(FieldPath, Literal)>,
}

impl ManifestEntry {
    /// The edit that sets the resource's fields. With `replace`, it unsets all other fields.
    pub fn into_edit(self, replace: bool) -> Edit {
        let fields = self.fields.into_iter().map(|(path, value)| (path, FieldEdit::Assign(value))).collect();
        Edit::Set { resource: self.resource, fields, replace }
    }
}

/// A mistake in a manifest and its position.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{line}:{column}: {reason}")]
pub struct ManifestError {
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// A description of the mistake.
    pub reason: String,
}

/// Parses a manifest and checks it against the schemas of this version. With `allow_unknown`, unknown kinds
/// and fields are accepted.
pub fn parse(text: &str, allow_unknown: bool) -> Result<Vec<ManifestEntry>, ManifestError> {
    let reader = ManifestReader { text, allow_unknown };
    let document = Document::parse(text).map_err(|error| {
        reader.error_at(
            error.span().map_or(0, |span| span.start),
            error.message().lines().next().unwrap_or_default(),
        )
    })?;
    let mut entries = Vec::new();
    for (kind, item) in document.as_table().iter() {
        let offset = reader.offset_of(document.as_table(), kind, item);
        let Some(names) = item.as_table_like() else {
            return Err(
                reader.error_at(offset, &format!("`{kind}` is not a resource; write a table [kind.name]"))
            );
        };
        if schema::find_schema(kind).is_none() && !allow_unknown {
            return Err(
                reader.error_at(offset, &schema::SchemaError::UnknownKind(kind.to_owned()).to_string())
            );
        }
        for (name, item) in names.iter() {
            entries.push(reader.read_entry(kind, name, names, item)?);
        }
    }
    Ok(entries)
}

/// Checks that one change can set all fields of these resources.
pub fn check_size(entries: &[ManifestEntry]) -> Result<(), EditError> {
    let mut size = WriteSize::default();
    for entry in entries {
        for (path, value) in &entry.fields {
            let path = path.to_string();
            match value {
                Literal::Scalar(value) => size.add_put(entry.resource.field_key(&path).len(), value, 1),
                Literal::List(values) => {
                    for value in values {
                        let key = entry.resource.field_key(&list_item::item_field(&path, value, 0));
                        let item = ListItem { rank: 0, value: value.clone() };
                        size.add_put(key.len(), &item.encode(), 1);
                    }
                }
            }
        }
    }
    size.check()
}

struct ManifestReader<'a> {
    text: &'a str,
    allow_unknown: bool,
}

impl ManifestReader<'_> {
    fn read_entry(
        &self,
        kind: &str,
        name: &str,
        parent: &dyn TableLike,
        item: &Item,
    ) -> Result<ManifestEntry, ManifestError> {
        let offset = self.offset_of(parent, name, item);
        let resource =
            ResourceName::new(kind, name).map_err(|error| self.error_at(offset, &error.to_string()))?;
        let Some(table) = item.as_table_like() else {
            return Err(self.error_at(offset, &format!("{resource} must be a table of fields")));
        };
        let mut entry = ManifestEntry { resource, fields: Vec::new() };
        self.read_fields(&mut entry, &[], table)?;
        let mut seen = BTreeSet::new();
        match entry.fields.iter().find(|(path, _)| !seen.insert(path)) {
            Some((path, _)) => Err(self.error_at(offset, &format!("{} sets `{path}` twice", entry.resource))),
            None => Ok(entry),
        }
    }

    fn read_fields(
        &self,
        entry: &mut ManifestEntry,
        parent_path: &[String],
        table: &dyn TableLike,
    ) -> Result<(), ManifestError> {
        for (key, item) in table.iter() {
            let offset = self.offset_of(table, key, item);
            let path = match parent_path.is_empty() && key.contains('.') {
                true => {
                    key.parse().map_err(|error: FieldPathError| self.error_at(offset, &error.to_string()))?
                }
                false => FieldPath::new(parent_path.iter().cloned().chain([key.to_owned()]).collect())
                    .ok_or_else(|| self.error_at(offset, &format!("`{key}` is empty, or nested too deep")))?,
            };
            let path = canonical_path(entry.resource.kind(), path);
            if let Some(inner) = self.inner_table(item) {
                self.read_fields(entry, path.segments(), inner)?;
                continue;
            }
            let Some(value) = item.as_value() else {
                return Err(self.error_at(offset, &format!("`{path}` must be a value")));
            };
            let value =
                literal::from_toml(value).map_err(|error| self.error_at(offset, &error.to_string()))?;
            schema::check_value(&entry.resource, &path, &value, self.allow_unknown)
                .map_err(|error| self.error_at(offset, &error.to_string()))?;
            entry.fields.push((path, value));
        }
        Ok(())
    }

    /// The item as a table, unless it is an inline table that encodes bytes.
    fn inner_table<'i>(&self, item: &'i Item) -> Option<&'i dyn TableLike> {
        match item {
            Item::Value(toml_edit::Value::InlineTable(table)) if table.contains_key("base64") => None,
            item => item.as_table_like(),
        }
    }

    /// The byte offset of the key, or else of its value, or else 0.
    fn offset_of(&self, table: &dyn TableLike, key: &str, item: &Item) -> usize {
        let key = table.get_key_value(key).and_then(|(key, _)| key.span());
        key.or_else(|| item.span())
            .or_else(|| item.as_table().and_then(Table::span))
            .map_or(0, |span| span.start)
    }

    fn error_at(&self, offset: usize, reason: &str) -> ManifestError {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        ManifestError { line, column, reason: reason.to_owned() }
    }
}

/// Formats resources as a manifest that [`parse`] reads back to the same values. Of a field in conflict, it
/// contains the winner. Removed resources are left out.
pub fn write<'a>(views: impl IntoIterator<Item = &'a ResourceView<'a>>) -> String {
    let mut out = String::new();
    for view in views {
        if !view.name.is_managed() || view.is_removed() || view.set_values().is_empty() {
            continue;
        }
        if !out.is_empty() {
            out.push('\n');
        }
        let header = [view.name.kind().to_owned(), view.name.name().to_owned()];
        let header = FieldPath::new(header.to_vec()).map(|path| path.to_string()).unwrap_or_default();
        out.push_str(&format!("[{header}]\n"));
        let values = view.set_values();
        for (path, value) in &values {
            let value = match value {
                Literal::Scalar(value) => literal::format_scalar(value),
                Literal::List(values) => literal::format_list(values),
            };
            let key = if is_dotted(path, &values) { (*path).to_owned() } else { quote(path) };
            out.push_str(&format!("{key} = {value}\n"));
        }
    }
    out
}

/// True if the path can be written as dotted keys: no value is set above it, and the parser would not take it
/// for a quoted path.
fn is_dotted(path: &str, values: &BTreeMap<&str, Literal>) -> bool {
    let Ok(parsed) = path.parse::<FieldPath>() else { return true };
    let above = |len: usize| FieldPath::new(parsed.segments().iter().take(len).cloned().collect());
    let has_value = |prefix: FieldPath| values.contains_key(prefix.to_string().as_str());
    !parsed.first().contains('.') && !(1..parsed.segments().len()).filter_map(above).any(has_value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delta::{OpRef, Put};
    use crate::id::ChainId;
    use crate::shard::state::VisibleState;
    use crate::value::Value;

    #[test]
    fn manifest_tables_parse_into_fields() {
        let entries = parse(
            "[config.db]\npath = \"db\"\nkeys.url = 'x'\nkeys.\"a b\" = [1, 2]\n[config.db.keys]\n",
            false,
        );
        // TOML does not allow reopening a table that dotted keys created. The error has its position.
        assert_eq!(entries.unwrap_err().line, 5);
        let entries =
            parse("[config.db]\npath = \"db\"\n[config.db.keys]\nurl = 'x'\n\"a b\" = [1, 2]\n", false);
        let [entry] = entries.unwrap().try_into().unwrap();
        let fields: Vec<_> =
            entry.fields.iter().map(|(path, value)| (path.to_string(), value.clone())).collect();
        assert_eq!(
            fields,
            [
                ("path".to_owned(), Literal::Scalar(Value::from("db"))),
                ("keys.url".to_owned(), Literal::Scalar(Value::from("x"))),
                ("keys.\"a b\"".to_owned(), Literal::List(vec![Value::Int(1), Value::Int(2)])),
            ]
        );
    }

    /// Properties files have values below values, such as `log` and `log.level`; TOML has not.
    #[test]
    fn written_manifest_parses_back_when_one_key_is_a_prefix_of_another() {
        let mut state = VisibleState::default();
        for (nth, field) in
            ["path", "keys.log", "keys.log.level", "keys.log.level.\"a b\"", "keys.logs", "\"odd.one\".x"]
                .into_iter()
                .enumerate()
        {
            let put = Put { key: format!("config/a {field}"), value: Value::from(field), preds: vec![] };
            state.apply_put(OpRef { counter: nth as u64 + 1, chain_id: ChainId::ZERO }, &put);
        }
        let view = ResourceView::read(&state, &"config/a".parse().unwrap()).unwrap();
        let text = write([&view]);
        let [entry] = parse(&text, true).unwrap().try_into().unwrap();
        let read = entry.fields.iter().map(|(path, value)| (path.to_string(), value.clone()));
        let read: BTreeMap<String, Literal> = read.collect();
        let written = view.set_values().into_iter().map(|(path, value)| (path.to_owned(), value));
        assert_eq!(read, written.collect(), "{text}");
        assert!(text.contains("\nkeys.log = ") && text.contains("\n\"keys.log.level\" = "), "{text}");
    }

    #[test]
    fn errors_report_line_and_column() {
        for (text, line, column, expected) in [
            ("[config.a]\nkeys.x = '1'\n\"keys.x\" = '2'\n", 1, 9, "sets `keys.x` twice"),
            ("[config.a]\n\"keys..x\" = '2'\n", 2, 1, "not a field"),
            ("[file.a]\npath = \n", 2, 8, ""),
            ("[file.a]\npath = 5\n", 2, 1, "must be text"),
            ("[file.a]\npath = \"x\"\nmode = \"9\"\n", 3, 1, "octal"),
            ("[fille.a]\npath = \"x\"\n", 1, 2, "unknown kind"),
            ("\n[file.a]\n  pth = \"x\"\n", 3, 3, "no field `pth`"),
            ("[file.\"a b\"]\npath = \"x\"\n", 1, 7, "not a name"),
            ("x = 1\n", 1, 1, "is not a resource"),
            ("file.a = 1\n", 1, 6, "must be a table"),
            ("[config.a]\nkeys.x = 2020-01-01\n", 2, 6, "date"),
            ("[config.a]\nselect = \"role=\"\n", 2, 1, "label expression"),
            ("[[file.a]]\npath = \"x\"\n", 1, 8, "must be a table"),
        ] {
            let error = parse(text, false).unwrap_err();
            assert_eq!((error.line, error.column), (line, column), "{text:?}: {error}");
            assert!(error.reason.contains(expected), "{text:?}: {error}");
        }
    }

    #[test]
    fn unknown_kinds_are_accepted_when_allowed() {
        assert_eq!(parse("[novel.a]\nx.y = 1\n", true).unwrap().len(), 1);
    }
}
