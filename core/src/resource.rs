//! What the values of a group's document mean: resources with kinds and fields, who they are for, and what to do where
//! two people wanted different things.
//!
//! The document itself is flat: every field of every resource is one key.
//!
//! ```text
//! <kind>/<name> <field>             a scalar field; the field is its canonical dotted path, see `field`
//! <kind>/<name> <field>#<32 hex>    one item of a list: the hash of (value, number of equal items before it);
//!                                   the value is "<rank> <TOML literal>"
//! node/<node id> alias              what a node is called; node/<node id> labels.<key> is one label
//! tag/<name> heads                  what a tag stands for, see `tag`
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
pub mod view;

pub use field::FieldPath;
pub use field_ref::FieldRef;
pub use name::ResourceName;
