-- A few rows far from all others do not spoil the codes of those.

CREATE TABLE outliers (id int PRIMARY KEY, v vector(16));
INSERT INTO outliers SELECT i, (SELECT array_agg(sin(i * 0.7 + j * j * 1.3 * i)
	ORDER BY j) FROM generate_series(1, 16) j)::real[]::vector
FROM generate_series(1, 2000) i;

-- Builds an index beside three rows of that size; how many of 200 ordinary
-- rows a search by their own vectors finds, and how many of the three.
CREATE FUNCTION find_with(size float8, class text, operator text,
	OUT ordinary bigint, OUT far bigint, OUT problems bigint)
LANGUAGE plpgsql SET enable_seqscan = off AS $$
BEGIN
	DELETE FROM outliers WHERE id > 2000;
	INSERT INTO outliers SELECT 2000 + i, array_fill(i * size, ARRAY[16])::vector
	FROM generate_series(1, 3) i;
	EXECUTE format('CREATE INDEX outliers_idx ON outliers USING chassis (v %I)', class);
	EXECUTE format('SELECT count(*) FILTER (WHERE id <= 2000),
		count(*) FILTER (WHERE id > 2000) FROM outliers o
		WHERE (id %% 10 = 0 OR id > 2000) AND id =
			(SELECT id FROM outliers ORDER BY v %s o.v LIMIT 1)', operator)
	INTO ordinary, far;
	SELECT count(*) FROM chassis_index_check('outliers_idx') INTO problems;
	DROP INDEX outliers_idx;
END $$;
SELECT size, f.* FROM unnest(ARRAY[1, 1e3, 1e5, 1e6, 1e9]) size,
	find_with(size, 'vector_l2_ops', '<->') f;
SELECT size, f.* FROM unnest(ARRAY[1, 1e3, 1e6]) size,
	find_with(size, 'vector_l1_ops', '<+>') f;
DROP FUNCTION find_with;
DROP TABLE outliers;
