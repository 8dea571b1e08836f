# Perl's Cache::Memcached::Fast: perl fast.pl HOST:PORT:WEIGHT... <KEYS, one a line; prints what the server of each key
# answers, which is its own address.
use strict;
use warnings;
use Cache::Memcached::Fast;
my @servers = map { my ($host, $port, $weight) = split /:/; { address => "$host:$port", weight => $weight } } @ARGV;
my $client = Cache::Memcached::Fast->new({ servers => \@servers, ketama_points => 160, connect_timeout => 5,
    io_timeout => 5 });
while (my $key = <STDIN>) {
    chomp $key;
    print $client->get($key) // die("no answer for $key"), "\n";
}
