-- What a chassis index cannot be, and queries it refuses: each with an error
-- that says so.

CREATE TABLE err (id int, v vector(3), w vector, t text);
INSERT INTO err SELECT i, ARRAY[i, 1, 1]::real[]::vector, '[1,2]', 'x'
FROM generate_series(1, 5) i;

-- columns
CREATE INDEX ON err USING chassis (w);
CREATE INDEX ON err USING chassis (id);
CREATE INDEX ON err USING chassis (v text_ops);
CREATE INDEX ON err USING chassis (v, v);
CREATE INDEX ON err USING chassis (v) INCLUDE (id);
CREATE UNIQUE INDEX ON err USING chassis (v);
CREATE INDEX ON err USING chassis (v DESC);
CREATE INDEX ON err USING chassis (v NULLS FIRST);
-- the message names the operator with its schema from 18 on
\set VERBOSITY sqlstate
ALTER TABLE err ADD EXCLUDE USING chassis (v WITH =);
\set VERBOSITY default
CREATE INDEX ON err USING chassis ((w::vector(3)));
CREATE INDEX ON err USING chassis ((w::vector(2)));

-- operator classes of the index order by one operator only
CREATE INDEX err_v ON err USING chassis (v);
CLUSTER err USING err_v;
SET enable_seqscan = off;

-- a query of another length gives the operator's error, from either plan
SELECT id FROM err ORDER BY v <-> '[1,2]' LIMIT 1;
SELECT id FROM err ORDER BY v <-> '[1,2,3,4]' LIMIT 1;
\set VERBOSITY sqlstate
SELECT id FROM err ORDER BY v <-> '[1,2]' LIMIT 1;
SELECT v <-> '[1,2]' FROM err;
\set VERBOSITY default

-- so does a row
INSERT INTO err (v) VALUES ('[1,2]');
-- the scan works after all that
SELECT id FROM err ORDER BY v <-> '[4,1,1]' LIMIT 1;
RESET enable_seqscan;

-- the same from an index large enough for a graph
CREATE TABLE err_graph (id int, v vector(3));
INSERT INTO err_graph SELECT i, ARRAY[i % 13, i % 17, i % 19]::real[]::vector
FROM generate_series(1, 1500) i;
CREATE INDEX err_graph_v ON err_graph USING chassis (v vector_cosine_ops) WITH (m = 8);
SELECT id FROM err_graph ORDER BY v <=> '[1,2]' LIMIT 1;

-- Queries that order nothing return every indexed row.
SET enable_seqscan = off;
PREPARE everything(vector) AS SELECT count(id), count(DISTINCT id)
FROM (SELECT id FROM err_graph ORDER BY v <=> $1 LIMIT 9999) x;
SET plan_cache_mode = force_generic_plan;
EXECUTE everything('[1,2,3]');
EXECUTE everything('[0,0,0]');
EXECUTE everything(NULL);
SET chassis.iterative_scan = off;
EXECUTE everything('[0,0,0]');
RESET ALL;
DEALLOCATE everything;
DROP TABLE err_graph;
DROP TABLE err;

-- An operator class that is not what it should be is told everything at once.
CREATE FUNCTION err_distance(vector, vector) RETURNS int
	LANGUAGE sql IMMUTABLE STRICT AS 'SELECT 1';
CREATE OPERATOR <~~~> (FUNCTION = err_distance, LEFTARG = vector, RIGHTARG = vector);
CREATE OPERATOR CLASS err_empty FOR TYPE vector USING chassis AS
	STORAGE vector;
CREATE OPERATOR CLASS err_wrong FOR TYPE vector USING chassis AS
	OPERATOR 1 <~~~> (vector, vector) FOR ORDER BY integer_ops;
CREATE OPERATOR CLASS err_search FOR TYPE vector USING chassis AS
	OPERATOR 2 = (vector, vector),
	OPERATOR 1 <-> (vector, vector) FOR ORDER BY float_ops,
	FUNCTION 1 vector_norm(vector);
SELECT opcname, amvalidate(oid) FROM pg_opclass
WHERE opcname LIKE 'err\_%' ORDER BY opcname;
DROP OPERATOR FAMILY err_empty USING chassis;
DROP OPERATOR FAMILY err_wrong USING chassis;
DROP OPERATOR FAMILY err_search USING chassis;
DROP OPERATOR <~~~> (vector, vector);
DROP FUNCTION err_distance(vector, vector);
