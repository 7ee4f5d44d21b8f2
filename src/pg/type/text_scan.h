/*
 * text_scan.h
 *	  What the input functions of all our types agree on: white space, and how
 *	  many elements a text can have.
 *
 * Separate so that no type accepts what another one refuses.
 *
 * SPDX-License-Identifier: Apache-2.0 OR MIT
 */
#ifndef CHS_TEXT_SCAN_H
#define CHS_TEXT_SCAN_H

/*
 * The characters SQL itself calls white space.  Not isspace(): that follows
 * the locale.
 */
static inline bool
chs_is_space(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

static inline char *
chs_skip_space(char *p)
{
	while (chs_is_space(*p))
		p++;
	return p;
}

/* The elements that text would have if it were well formed: commas and one. */
static inline int
chs_count_elements(const char *text)
{
	int count = 1;

	for (; *text != '\0'; text++)
		count += *text == ',';
	return count;
}

#endif /* CHS_TEXT_SCAN_H */
