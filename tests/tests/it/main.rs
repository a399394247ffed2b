//! One integration binary: what it takes to link is paid once.

mod layout;
