//! What people see for what they write.
