-- Which releases may work on this schema: those that know at least this migration. A migration that only adds leaves it
-- alone, so that the release before goes on while controllers are upgraded one after the other. One that takes
-- something away that the release before uses raises it, and that release then neither leads nor starts.
CREATE TABLE schema_floor (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    oldest bigint NOT NULL
);
INSERT INTO schema_floor (oldest) VALUES (26);
