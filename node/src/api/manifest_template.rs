//! The manifest that an editor shows for a resource that does not exist yet.

use larder_core::resource::ResourceName;
use larder_core::resource::literal;
use larder_core::resource::schema::{COMMON_FIELDS, FieldType, ResourceSchema};

/// A manifest with every field of the kind as a comment, so that it sets no field until one is uncommented.
pub(super) fn manifest_template(kind: &ResourceSchema, resource: &ResourceName) -> String {
    let mut out = format!(
        "# A {}: {}.\n[{}.{}]\n",
        kind.name,
        kind.summary,
        kind.name,
        quote_if_needed(resource.name())
    );
    let is_required = |name: &str| kind.required.contains(&name);
    let fields = kind.fields.iter().map(|(name, shape)| ((*name).to_owned(), *shape, is_required(name)));
    let tables = kind.tables.iter().map(|(name, shape)| (format!("{name}.NAME"), *shape, false));
    let common = COMMON_FIELDS.iter().map(|(name, shape)| ((*name).to_owned(), *shape, false));
    let rows: Vec<(String, String)> = fields.chain(tables).chain(common).map(template_row).collect();
    let width = rows.iter().map(|(field, _)| field.chars().count()).max().unwrap_or(0);
    for (field, note) in rows {
        let line = format!("# {field:width$}  {note}");
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// The field with an example value, and a remark about it.
fn template_row((name, shape, required): (String, FieldType, bool)) -> (String, String) {
    let (value, note) = match shape {
        FieldType::Text => ("\"\"", String::new()),
        FieldType::Content => ("\"\"", "or \"\"\"...\"\"\" over several lines".to_owned()),
        FieldType::Mode => ("\"0644\"", String::new()),
        FieldType::Choice(words) => return choice_row(&name, words, required),
        FieldType::Selector => {
            ("\"role=web\"", "the nodes that it applies to; without it, all nodes".to_owned())
        }
        FieldType::Any => ("\"\"", "text, a number, true or false, or a list".to_owned()),
    };
    (format!("{name} = {value}"), comment(required, &note))
}

fn choice_row(name: &str, words: &[&str], required: bool) -> (String, String) {
    let first = words.first().copied().unwrap_or_default();
    let others: Vec<String> = words.iter().skip(1).map(|word| format!("\"{word}\"")).collect();
    let note = if others.is_empty() { String::new() } else { format!("or {}", others.join(", ")) };
    (format!("{name} = \"{first}\""), comment(required, &note))
}

fn comment(required: bool, note: &str) -> String {
    match (required, note) {
        (false, "") => String::new(),
        (false, note) => format!("# {note}"),
        (true, "") => "# required".to_owned(),
        (true, note) => format!("# required; {note}"),
    }
}

/// The name as a TOML key, in quotes unless it is a bare key.
fn quote_if_needed(name: &str) -> String {
    let bare = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if bare { name.to_owned() } else { literal::quote(name) }
}

#[cfg(test)]
mod tests {
    use larder_core::resource::manifest;
    use larder_core::resource::schema::SCHEMAS;

    use super::*;

    #[test]
    fn template_sets_no_field_until_one_is_uncommented() {
        for kind in SCHEMAS {
            let resource = ResourceName::new(kind.name, "a.b").unwrap();
            let text = manifest_template(kind, &resource);
            let [entry] = manifest::parse(&text, false).unwrap().try_into().unwrap();
            assert_eq!((&entry.resource, entry.fields.len()), (&resource, 0), "{text}");
            // Uncommented, every field of the kind is set to a valid value.
            let (about, rest) = text.split_once('\n').unwrap();
            let filled: String =
                rest.lines().map(|line| line.trim_start_matches("# ").to_owned() + "\n").collect();
            let [entry] = manifest::parse(&filled, false).unwrap().try_into().unwrap();
            assert_eq!(
                entry.fields.len(),
                kind.fields.len() + kind.tables.len() + COMMON_FIELDS.len(),
                "{filled}"
            );
            assert!(about.contains(kind.summary) && text.contains("# required"), "{text}");
        }
    }
}
