/*
 * chassis--0.1.0--0.2.0.sql
 *	  What version 0.2.0 adds to the SQL objects of 0.1.0.
 *
 * After it the catalogs hold what chassis--0.2.0.sql makes in an empty
 * database, object by object; test/t/060_upgrade.pl compares them.  A change
 * of one of the two scripts is a change of both.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */

-- refuse to run from psql: ALTER EXTENSION must own what is made here
\echo Use "ALTER EXTENSION chassis UPDATE TO '0.2.0'" to load this file. \quit

-- operator classes of chassis for halfvec, sparsevec and bit

CREATE FUNCTION chassis_halfvec_l2(internal) RETURNS internal
	AS 'MODULE_PATHNAME', 'chassis_halfvec_l2'
	LANGUAGE C;
COMMENT ON FUNCTION chassis_halfvec_l2(internal) IS 'chassis operator class support: Euclidean distance of halfvec';

CREATE FUNCTION chassis_halfvec_ip(internal) RETURNS internal
	AS 'MODULE_PATHNAME', 'chassis_halfvec_ip'
	LANGUAGE C;
COMMENT ON FUNCTION chassis_halfvec_ip(internal) IS 'chassis operator class support: negative inner product of halfvec';

CREATE FUNCTION chassis_halfvec_cosine(internal) RETURNS internal
	AS 'MODULE_PATHNAME', 'chassis_halfvec_cosine'
	LANGUAGE C;
COMMENT ON FUNCTION chassis_halfvec_cosine(internal) IS 'chassis operator class support: cosine distance of halfvec';

CREATE FUNCTION chassis_halfvec_l1(internal) RETURNS internal
	AS 'MODULE_PATHNAME', 'chassis_halfvec_l1'
	LANGUAGE C;
COMMENT ON FUNCTION chassis_halfvec_l1(internal) IS 'chassis operator class support: taxicab distance of halfvec';

CREATE FUNCTION chassis_sparsevec_l2(internal) RETURNS internal
	AS 'MODULE_PATHNAME', 'chassis_sparsevec_l2'
	LANGUAGE C;
COMMENT ON FUNCTION chassis_sparsevec_l2(internal) IS 'chassis operator class support: Euclidean distance of sparsevec';

CREATE FUNCTION chassis_sparsevec_ip(internal) RETURNS internal
	AS 'MODULE_PATHNAME', 'chassis_sparsevec_ip'
	LANGUAGE C;
COMMENT ON FUNCTION chassis_sparsevec_ip(internal) IS 'chassis operator class support: negative inner product of sparsevec';

CREATE FUNCTION chassis_sparsevec_cosine(internal) RETURNS internal
	AS 'MODULE_PATHNAME', 'chassis_sparsevec_cosine'
	LANGUAGE C;
COMMENT ON FUNCTION chassis_sparsevec_cosine(internal) IS 'chassis operator class support: cosine distance of sparsevec';

CREATE FUNCTION chassis_sparsevec_l1(internal) RETURNS internal
	AS 'MODULE_PATHNAME', 'chassis_sparsevec_l1'
	LANGUAGE C;
COMMENT ON FUNCTION chassis_sparsevec_l1(internal) IS 'chassis operator class support: taxicab distance of sparsevec';

CREATE FUNCTION chassis_bit_hamming(internal) RETURNS internal
	AS 'MODULE_PATHNAME', 'chassis_bit_hamming'
	LANGUAGE C;
COMMENT ON FUNCTION chassis_bit_hamming(internal) IS 'chassis operator class support: Hamming distance of bit';

CREATE FUNCTION chassis_bit_jaccard(internal) RETURNS internal
	AS 'MODULE_PATHNAME', 'chassis_bit_jaccard'
	LANGUAGE C;
COMMENT ON FUNCTION chassis_bit_jaccard(internal) IS 'chassis operator class support: Jaccard distance of bit';

CREATE OPERATOR CLASS halfvec_l2_ops
	DEFAULT FOR TYPE halfvec USING chassis AS
	OPERATOR 1 <-> (halfvec, halfvec) FOR ORDER BY float_ops,
	FUNCTION 1 chassis_halfvec_l2(internal);

CREATE OPERATOR CLASS halfvec_ip_ops
	FOR TYPE halfvec USING chassis AS
	OPERATOR 1 <#> (halfvec, halfvec) FOR ORDER BY float_ops,
	FUNCTION 1 chassis_halfvec_ip(internal);

CREATE OPERATOR CLASS halfvec_cosine_ops
	FOR TYPE halfvec USING chassis AS
	OPERATOR 1 <=> (halfvec, halfvec) FOR ORDER BY float_ops,
	FUNCTION 1 chassis_halfvec_cosine(internal);

CREATE OPERATOR CLASS halfvec_l1_ops
	FOR TYPE halfvec USING chassis AS
	OPERATOR 1 <+> (halfvec, halfvec) FOR ORDER BY float_ops,
	FUNCTION 1 chassis_halfvec_l1(internal);

CREATE OPERATOR CLASS sparsevec_l2_ops
	DEFAULT FOR TYPE sparsevec USING chassis AS
	OPERATOR 1 <-> (sparsevec, sparsevec) FOR ORDER BY float_ops,
	FUNCTION 1 chassis_sparsevec_l2(internal);

CREATE OPERATOR CLASS sparsevec_ip_ops
	FOR TYPE sparsevec USING chassis AS
	OPERATOR 1 <#> (sparsevec, sparsevec) FOR ORDER BY float_ops,
	FUNCTION 1 chassis_sparsevec_ip(internal);

CREATE OPERATOR CLASS sparsevec_cosine_ops
	FOR TYPE sparsevec USING chassis AS
	OPERATOR 1 <=> (sparsevec, sparsevec) FOR ORDER BY float_ops,
	FUNCTION 1 chassis_sparsevec_cosine(internal);

CREATE OPERATOR CLASS sparsevec_l1_ops
	FOR TYPE sparsevec USING chassis AS
	OPERATOR 1 <+> (sparsevec, sparsevec) FOR ORDER BY float_ops,
	FUNCTION 1 chassis_sparsevec_l1(internal);

CREATE OPERATOR CLASS bit_hamming_ops
	FOR TYPE bit USING chassis AS
	OPERATOR 1 <~> (bit, bit) FOR ORDER BY float_ops,
	FUNCTION 1 chassis_bit_hamming(internal);

CREATE OPERATOR CLASS bit_jaccard_ops
	FOR TYPE bit USING chassis AS
	OPERATOR 1 <%> (bit, bit) FOR ORDER BY float_ops,
	FUNCTION 1 chassis_bit_jaccard(internal);
