# Makefile
#	  Builds and installs the extension (PGXS), and runs everything around it.
#
#	  make, make install, make installcheck    the ordinary PGXS targets
#	  make demo, make demo-stop                 60,000 real images, searched
#	  make test                                 every suite, from nothing
#	  make help                                 the rest
#
# Whatever is not plain PGXS lives in tools/ and needs no pg_config to start.
#
# SPDX-License-Identifier: Apache-2.0 OR MIT

# Where this file lies, so that `make -f .../Makefile` from an empty directory
# builds there (PGXS's VPATH build) and leaves the sources alone.
top := $(patsubst %/,%,$(dir $(firstword $(MAKEFILE_LIST))))
sources = $(patsubst $(top)/%,%,$(wildcard $(addprefix $(top)/,$(1))))

EXTENSION = chassis
MODULE_big = chassis
PGFILEDESC = "chassis - vector similarity search"
DATA = $(call sources,sql/$(EXTENSION)--*.sql)
# Operator classes for columns of pgvector's types: a script, no library.
DATA += $(call sources,pgvector/chassis_pgvector.control pgvector/chassis_pgvector--*.sql)
# Extension "vector" over chassis.  Built with the rest, installed on request:
# it takes the name of pgvector's (pgvector/README.md).
alias = pgvector/chassis_vector_alias
alias_data = $(call sources,pgvector/vector.control pgvector/vector--*.sql)
# A library of its own, preloaded by the Python package's private servers only.
embedded = src/pg/embedded/chassis_embedded
OBJS = $(patsubst %.c,%.o,$(filter-out $(embedded).c,\
	$(call sources,src/core/*/*.c src/pg/*.c src/pg/*/*.c)))

# Includes are written from src/ and so show their layer.  The .d files next
# to the objects give header dependencies, which PGXS usually does not track.
PG_CPPFLAGS = -I$(top)/src -MMD -MP
PG_CFLAGS = -std=gnu11 -Wextra -Wno-unused-parameter -Wno-sign-compare \
	-Wno-missing-field-initializers
# Nobody reads errno after sqrtf(); without this it is a call, not one
# instruction.  No contraction: a*b+c gives the same result on every processor
# (kernels that want a fused operation say so).  No -march, ever: the kernels
# choose the instruction set at run time.
PG_CFLAGS += -fno-math-errno -ffp-contract=off
# Debian's server was built by gcc and passes on options and attributes that
# clang lacks.
PG_CFLAGS += $(if $(findstring clang,$(CC)),-Wno-unknown-warning-option \
	-Wno-ignored-optimization-argument -Wno-ignored-attributes)
# A second build, for the isolation specs only, that can be stopped at named
# places (src/pg/am, CHS_STOP).  The release library has no trace of it.
ifdef STOPS
PG_CPPFLAGS += -DCHS_STOPS
endif
# Our assertions, and those in the server's headers, on a server built without:
# what they call is there in every server.
ifdef ASSERTS
PG_CPPFLAGS += -DUSE_ASSERT_CHECKING
endif

# The server loads libraries with RTLD_GLOBAL and before version 16 every
# symbol of a library is visible: without -Bsymbolic-functions a call to our
# vector_in() would reach that of a pgvector loaded earlier.
ifeq ($(shell uname -s),Linux)
SHLIB_LINK += -Wl,-Bsymbolic-functions
endif
SHLIB_LINK += -lm

# Bitcode would let the server's JIT inline our functions.  They are called
# through the index or on whole vectors, where that gains nothing, and making
# it would require the clang that the server was built with.
override with_llvm = no

REGRESS = $(patsubst test/sql/%.sql,%,$(call sources,test/sql/*.sql))
REGRESS_OPTS = --inputdir=$(top)/test --load-extension=$(EXTENSION)
# Specs that stop a backend at a named place need the STOPS build.
all_specs = $(sort $(wildcard $(top)/test/specs/*.spec))
plain_specs = $(if $(all_specs),$(sort $(shell grep -L stop_at $(all_specs))))
ISOLATION = $(patsubst $(top)/test/specs/%.spec,%,\
	$(if $(STOPS),$(all_specs),$(plain_specs)))
# --outputdir=. because expected/ is looked for there first
ISOLATION_OPTS = --inputdir=$(top)/test --outputdir=. --load-extension=$(EXTENSION)
TAP_TESTS = 1
PROVE_TESTS ?= test/t/*.pl
PROVE_FLAGS += -I test/perl

EXTRA_CLEAN = build results regression.diffs regression.out output_iso \
	tmp_check $(OBJS:.o=.d) $(addprefix $(embedded),.o .d $(DLSUFFIX)) \
	$(addprefix $(alias),.o .d $(DLSUFFIX))

# Targets that must work before PostgreSQL is installed.
house_targets = help demo demo-stop test stress fuzz python wheel lint format \
	bench bench-kernels check-house check-unit check-regress check-isolation check-tap \
	check-python check-clients check-pgvector deb check-deb dist

# In the checkout itself these are made in build/MAJOR.  The library's name is
# given, and a file chassis.so in the current directory is what Python takes for
# the package chassis, before it looks for any other.
outside_targets = all install installdirs uninstall install-pgvector-alias \
	uninstall-pgvector-alias

PG_CONFIG ?= pg_config
goals = $(filter-out $(house_targets),$(or $(MAKECMDGOALS),all))

ifneq ($(if $(filter $(outside_targets),$(goals)),$(filter .,$(top))),)
# VPATH is given because only servers that were built so themselves set it.
# What an earlier version left here would be found through it.
stale = $(wildcard $(EXTENSION).so $(EXTENSION).dylib $(OBJS) $(OBJS:.o=.d))
outside_dir = build/$(shell $(PG_CONFIG) --version | sed 's/[^0-9]*\([0-9]*\).*/\1/')

.PHONY: $(goals)
$(filter $(outside_targets),$(goals)):
	@$(if $(stale),rm -f $(stale))
	@mkdir -p $(outside_dir) && $(MAKE) --no-print-directory \
		-C $(outside_dir) -f ../../Makefile VPATH=../.. $@

# Whatever else is asked for at the same time happens here.
$(filter-out $(outside_targets),$(goals)):
	@$(MAKE) --no-print-directory $@

else ifneq ($(goals),)
PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

# A VPATH build needs the object directories.  Not a rule: make would find the
# directories through VPATH and think that they are there.
$(shell mkdir -p $(dir $(OBJS) $(embedded) $(alias)))

-include $(wildcard $(OBJS:.o=.d) $(embedded).d $(alias).d)

# PGXS makes one library of many objects, or many of one object each.  These are
# the second kind beside the first, by the server's own rule for it.
all: $(embedded)$(DLSUFFIX) $(alias)$(DLSUFFIX)

install: install-embedded
install-embedded: all installdirs
	$(INSTALL_SHLIB) $(embedded)$(DLSUFFIX) '$(DESTDIR)$(pkglibdir)/'

uninstall: uninstall-embedded
uninstall-embedded:
	rm -f '$(DESTDIR)$(pkglibdir)/$(notdir $(embedded))$(DLSUFFIX)'

install-pgvector-alias: all installdirs
	$(top)/pgvector/refuse.sh '$(DESTDIR)$(datadir)/extension'
	$(INSTALL_DATA) $(addprefix $(srcdir)/,$(alias_data)) '$(DESTDIR)$(datadir)/extension/'
	$(INSTALL_SHLIB) $(alias)$(DLSUFFIX) '$(DESTDIR)$(pkglibdir)/'

uninstall-pgvector-alias:
	$(top)/pgvector/refuse.sh '$(DESTDIR)$(datadir)/extension'
	rm -f $(addprefix '$(DESTDIR)$(datadir)/extension'/,$(notdir $(alias_data))) \
		'$(DESTDIR)$(pkglibdir)/$(notdir $(alias))$(DLSUFFIX)'

.PHONY: install-embedded uninstall-embedded install-pgvector-alias \
	uninstall-pgvector-alias
endif

.PHONY: $(house_targets)

help:
	@sed -n 's/^## //p' $(firstword $(MAKEFILE_LIST))

## make                 build the extension in build/MAJOR (honours PG_CONFIG)
## make install         install it (honours DESTDIR)
## make install-pgvector-alias  extension "vector" over chassis, where pgvector is not
## make installcheck    regress, isolation and TAP against a running, installed server
## make demo            a private server with 60,000 real images, searched and measured
## make demo-stop       stop that server and remove its files
demo:
	@tools/demo.sh start

demo-stop:
	@tools/demo.sh stop

## make test            every suite below; ends with "N passed, N failed"
## make check-house     layers, headers, exported symbols
## make check-unit      programs over src/core: plain, sanitized, and NEON emulated
## make check-regress   test/sql
## make check-isolation test/specs, with the library that can be stopped
## make check-tap       test/t (PROVE_TESTS=test/t/000_smoke.pl for one)
## make check-python    python/tests
## make check-clients   pgvector's clients on the alias, all environments (CLIENTS=adapters)
## make check-pgvector  pgvector's own tests on the alias (PGVECTOR_SRC=dir)
test:
	@tools/test.sh all

check-house check-unit check-regress check-isolation check-tap check-python check-pgvector:
	@tools/test.sh $(@:check-%=%)

check-clients:
	@CHASSIS_CLIENTS="$(or $(CLIENTS),adapters langchain pipelines)" tools/test.sh clients

## make stress          unit and TAP suites at ten times the length, with assertions
## make fuzz            libFuzzer over src/core, FUZZ_SECONDS=300 for each target
stress:
	@CHASSIS_STRESS=$${CHASSIS_STRESS:-10} tools/test.sh unit tap

fuzz:
	@tools/fuzz.sh

## make bench           the benchmark suite (QUICK=1, SCALE=full, PGVECTOR_SRC=dir)
## make bench-kernels   kernels against scalar: nanoseconds and error
bench:
	@bench/run.sh

bench-kernels:
	@$(MAKE) --no-print-directory -f test/unit/Makefile bench

## make python          the extension's files in build/, .venv with the package
python:
	@tools/python.sh

## make wheel           dist/pgchassis-*.whl, with the extension's files in it
wheel:
	@tools/wheel.sh

## make deb             dist/postgresql-NN-chassis_*.deb, for the servers that are here
## make check-deb       the same, unpacked and tested (regress); not part of make test
## make dist            dist/chassis-VERSION.zip of the last commit, as PGXN wants it
deb:
	@tools/deb.sh

check-deb:
	@tools/deb.sh check

dist_name = chassis-$(shell sed -n "s/^default_version = '\(.*\)'/\1/p" $(top)/chassis.control)
dist:
	@mkdir -p dist
	@git archive --format zip --prefix $(dist_name)/ -o dist/$(dist_name).zip HEAD
	@echo dist/$(dist_name).zip

## make lint            formatting, shell scripts, layers, warnings as errors
## make format          rewrite C sources by .clang-format
lint:
	@tools/lint.sh

format:
	@tools/lint.sh --fix
