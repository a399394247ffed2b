//! Tests on a real PostgreSQL: `DATABASE_URL` names a server on which databases may be made.
