//! kinds/app.
