-- What each of Rampart's roles may do in its database. Run it as the role that owns the tables,
-- after each `migrate` (a new table belongs to nobody but its owner until then):
--
--     psql "$OWNERS_DATABASE_URL" -v app=rampart_app -v keeper=rampart_keeper -f roles.sql
--
-- It may be run as often as one likes; it takes effect as a whole or not at all.

\set ON_ERROR_STOP on
BEGIN;

-- Nobody else, and no tables or functions of anybody else's in this schema.
REVOKE ALL ON SCHEMA public FROM PUBLIC;
REVOKE ALL ON SCHEMA public FROM :"app", :"keeper";
GRANT USAGE ON SCHEMA public TO :"app", :"keeper";
REVOKE ALL ON ALL TABLES IN SCHEMA public FROM PUBLIC, :"app", :"keeper";

-- What is not the ledger's: rows come, change and go.
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO :"app", :"keeper";
GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO :"app", :"keeper";
REVOKE INSERT, UPDATE, DELETE ON django_migrations FROM :"app", :"keeper";

-- The ledger is written once.
REVOKE UPDATE, DELETE ON audit_event, audit_checkpoint, audit_leaf, audit_node
    FROM :"app", :"keeper";
REVOKE UPDATE ON audit_unsealed FROM :"app", :"keeper";
REVOKE UPDATE, DELETE ON audit_tree, audit_legalhold FROM :"app", :"keeper";
GRANT UPDATE (size, frontier) ON audit_tree TO :"app", :"keeper";
GRANT UPDATE (released_by, released_at) ON audit_legalhold TO :"app", :"keeper";

-- The door out of it is for the keeper alone.
REVOKE INSERT, UPDATE, DELETE ON audit_door FROM :"app";
REVOKE UPDATE ON audit_door FROM :"keeper";
GRANT DELETE ON audit_event, audit_checkpoint TO :"keeper";

COMMIT;
