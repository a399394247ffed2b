//! kinds/node.
