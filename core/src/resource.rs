//! The meaning of the values in a group's document: resources with kinds and fields, the nodes to which they
//! apply, and conflicts.
//!
//! The document itself is flat. Every field of every resource is one key:
//!
//! ```text
//! <kind>/<name> <field>             a single value; <field> is a canonical dotted path, see `spelling`
//! <kind>/<name> <field>#<32 hex>    a list item: the hash of (value, number of equal items before it);
//!                                   the value is "<rank> <TOML literal>"
//! node/<node id> alias              the alias of a node; node/<node id> labels.<key> is one label
//! tag/<name> heads                  the heads that a tag stands for, see `history_tag`
//! ```

pub mod assignment;
pub mod concurrent_edits;
pub mod conflict;
pub mod edit;
pub mod edit_transaction;
pub mod field;
pub mod field_ref;
pub mod history_tag;
pub mod list_item;
pub mod literal;
pub mod manifest;
pub mod name;
pub mod node_replacement;
pub mod observed;
pub mod path_conflict;
pub mod plan;
pub mod schema;
pub mod selector;
pub mod spelling;
pub mod view;
mod write_size;

pub use field::FieldPath;
pub use field_ref::FieldRef;
pub use name::ResourceName;
