-- A distance that only orders is not computed once more for each row.

CREATE TABLE hidden (id int PRIMARY KEY, kind int, v vector(3));
INSERT INTO hidden SELECT i, i % 3, ARRAY[i % 13, i % 17, i % 19]::real[]::vector
FROM generate_series(1, 3000) i;
-- Three that no other row is as near to [1,2,3] as.
UPDATE hidden SET v = ARRAY[1, 2, 3 + (id - 1500) / 4.0]::real[]::vector
WHERE id IN (1501, 1502, 1503);
CREATE INDEX hidden_v ON hidden USING chassis (v);
ANALYZE hidden;

-- The hidden column is NULL.
EXPLAIN (VERBOSE, COSTS OFF)
	SELECT id FROM hidden ORDER BY v <-> '[1,2,3]' LIMIT 3;
SELECT id FROM hidden ORDER BY v <-> '[1,2,3]' LIMIT 3;
-- So it is with OFFSET, in a subquery, in a CTE, and for each row of another table.
EXPLAIN (VERBOSE, COSTS OFF)
	SELECT FROM hidden WHERE kind = 1 ORDER BY v <-> '[1,2,3]' LIMIT 3 OFFSET 2;
EXPLAIN (VERBOSE, COSTS OFF) SELECT sum(id) FROM
	(SELECT id FROM hidden ORDER BY v <-> '[1,2,3]' LIMIT 3) s;
EXPLAIN (VERBOSE, COSTS OFF) WITH near AS MATERIALIZED
	(SELECT id FROM hidden ORDER BY v <-> '[1,2,3]' LIMIT 3)
	SELECT * FROM near a JOIN near b USING (id);
EXPLAIN (VERBOSE, COSTS OFF) SELECT o.id, n.id FROM hidden o,
	LATERAL (SELECT id FROM hidden i ORDER BY i.v <-> o.v LIMIT 1) n
WHERE o.id < 4;
SELECT o.id, n.id IS NOT NULL AS found FROM hidden o,
	LATERAL (SELECT id FROM hidden i ORDER BY i.v <-> o.v LIMIT 1) n
WHERE o.id < 4;

-- Who asks for the distance gets it.
EXPLAIN (VERBOSE, COSTS OFF)
	SELECT id, v <-> '[1,2,3]' FROM hidden ORDER BY v <-> '[1,2,3]' LIMIT 3;
SELECT id, v <-> '[1,2,3]' AS distance FROM hidden ORDER BY 2 LIMIT 3;
SELECT s.distance FROM (SELECT id, v <-> '[1,2,3]' AS distance FROM hidden
	ORDER BY distance LIMIT 3) s;
-- An expression with it is computed from the row.
SELECT id, 10 * (v <-> '[1,2,3]') AS ten FROM hidden
	ORDER BY v <-> '[1,2,3]' LIMIT 3;

-- WITH TIES compares distances, a merge of partitions and a lock keep them.
EXPLAIN (VERBOSE, COSTS OFF) SELECT id FROM hidden ORDER BY v <-> '[1,2,3]'
	FETCH FIRST 1 ROW WITH TIES;
SELECT array_agg(id ORDER BY id) FROM
	(SELECT id FROM hidden WHERE id < 2500 ORDER BY v <-> '[0,0,0]'
	FETCH FIRST 1 ROW WITH TIES) s;
EXPLAIN (VERBOSE, COSTS OFF) SELECT id FROM hidden ORDER BY v <-> '[1,2,3]'
	LIMIT 3 FOR UPDATE;
CREATE TABLE merged (id int, v vector(3)) PARTITION BY RANGE (id);
CREATE TABLE merged_1 PARTITION OF merged FOR VALUES FROM (0) TO (1500);
CREATE TABLE merged_2 PARTITION OF merged FOR VALUES FROM (1500) TO (9999);
INSERT INTO merged SELECT id, v FROM hidden;
CREATE INDEX merged_v ON merged USING chassis (v);
ANALYZE merged;
SELECT id FROM merged ORDER BY v <-> '[1,2,3]' LIMIT 3;
EXPLAIN (VERBOSE, COSTS OFF)
	SELECT id FROM merged ORDER BY v <-> '[1,2,3]' LIMIT 3;
DROP TABLE merged;

-- The same rows as without the index.
SET enable_indexscan = off;
SELECT id FROM hidden ORDER BY v <-> '[1,2,3]' LIMIT 3;
RESET enable_indexscan;

-- The memory of a search stays with the backend, and is used again.
CREATE FUNCTION search_often(times int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. times LOOP
		PERFORM id FROM hidden ORDER BY v <-> ARRAY[i % 13, i % 7, 1]::vector
		LIMIT 3;
	END LOOP;
END $$;
SELECT search_often(10);
SELECT count(*), sum(total_bytes) AS bytes FROM pg_backend_memory_contexts
	WHERE name = 'chassis workspace' \gset after_ten_
SELECT search_often(1000);
SELECT count(*) = :after_ten_count AS as_many,
	sum(total_bytes) = :after_ten_bytes AS as_large, count(*)
FROM pg_backend_memory_contexts WHERE name = 'chassis workspace';
-- Two searches at once have two; one of them stays.
SELECT count(*) FROM hidden o,
	LATERAL (SELECT id FROM hidden i ORDER BY i.v <-> o.v LIMIT 1) n
WHERE o.id IN (SELECT id FROM hidden ORDER BY v <-> '[1,2,3]' LIMIT 50);
-- An error in mid-search gives its memory back as well.
SELECT id, 1 / (id - id) FROM hidden ORDER BY v <-> '[1,2,3]' LIMIT 3;
SELECT count(*) FROM pg_backend_memory_contexts WHERE name = 'chassis workspace';
DROP FUNCTION search_often;
DROP TABLE hidden;
