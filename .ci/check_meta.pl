# check_meta.pl
#	  Fails when META.json is not what PGXN's Meta Spec 1.0.0 asks for, or names
#	  files that are not there.
#
# The specification is at https://pgxn.org/spec; checked is what it requires of
# the keys that are used, and that no key is used which it does not know.
# Versions are compared with the rest of the tree by check_versions.sh.
#
# SPDX-License-Identifier: Apache-2.0 OR MIT
use strict;
use warnings;

use File::Basename qw(dirname);
use JSON::PP;

chdir dirname(__FILE__) . '/..' or die "$!";
open(my $file, '<:raw', 'META.json') or die "META.json: $!";
my $meta = JSON::PP->new->utf8->decode(do { local $/; <$file> });
my @problems;

sub expect
{
	my ($true, $problem) = @_;

	push @problems, $problem unless $true;
	return;
}

sub is_text
{
	my ($value) = @_;

	return defined $value && !ref $value && $value =~ /\S/;
}

sub is_version
{
	my ($value) = @_;

	return is_text($value)
	  && $value =~ /^(?:0|[1-9]\d*)(?:\.(?:0|[1-9]\d*)){2}(?:-[0-9A-Za-z.-]+)?$/;
}

my %licenses = map { $_ => 1 } qw(agpl_3 apache_1_1 apache_2_0 artistic_1
  artistic_2 bsd freebsd gfdl_1_2 gfdl_1_3 gpl_1 gpl_2 gpl_3 lgpl_2_1 lgpl_3_0
  mit mozilla_1_0 mozilla_1_1 openssl perl_5 postgresql qpl_1_0 ssleay sun zlib
  open_source restricted unrestricted unknown);
my %known = map { $_ => 1 } qw(abstract description maintainer generated_by
  license meta-spec name no_index prereqs provides release_status resources
  tags version);

expect(is_text($meta->{$_}), "$_ is missing")
  foreach qw(abstract maintainer name version);
expect($known{$_} || /^x_/i, "key $_ is not in the specification")
  foreach sort keys %$meta;
expect(is_text($meta->{name}) && $meta->{name} =~ m{^[^\s/\\]{2,}$},
	'name is not a term');
expect(is_version($meta->{version}), 'version is not a semantic version');
expect(
	($meta->{release_status} // 'stable') =~ /^(?:stable|testing|unstable)$/,
	'release_status is none of the three');
expect(ref $meta->{license} eq 'ARRAY', 'license is not a list');
expect($licenses{$_}, "license $_ is not in the specification")
  foreach @{ $meta->{license} };
expect(
	ref $meta->{'meta-spec'} eq 'HASH'
	  && ($meta->{'meta-spec'}{version} // '') eq '1.0.0',
	'meta-spec is not version 1.0.0');
expect(length($_) <= 255 && !m{[[:cntrl:]/\\]}, "tag $_ is not a tag")
  foreach @{ $meta->{tags} };

expect(ref $meta->{provides} eq 'HASH' && %{ $meta->{provides} },
	'provides has no extension');
while (my ($name, $extension) = each %{ $meta->{provides} })
{
	expect(-f "$name.control" || -f "pgvector/$name.control",
		"$name.control is not there");
	expect(is_version($extension->{version}),
		"version of $name is not a semantic version");
	expect(is_text($extension->{file}), "$name has no file");
	foreach my $key (qw(file docfile))
	{
		expect(!defined $extension->{$key} || -f $extension->{$key},
			"$key of $name, $extension->{$key}, is not there");
	}
}
expect(-d $_, "directory $_ is not there")
  foreach @{ $meta->{no_index}{directory} };
while (my ($phase, $relations) = each %{ $meta->{prereqs} })
{
	expect($phase =~ /^(?:configure|build|test|runtime|develop)$/,
		"phase $phase of prereqs is not in the specification");
	expect(/^(?:requires|recommends|suggests|conflicts)$/,
		"relation $_ of prereqs is not in the specification")
	  foreach keys %$relations;
}

print STDERR map { "META.json: $_\n" } @problems;
exit(@problems ? 1 : 0);
