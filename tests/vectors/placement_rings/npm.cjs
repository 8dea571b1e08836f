// npm's hashring and memcached: node npm.cjs hashring|memcached HOST:PORT:WEIGHT... <KEYS, one a line.
'use strict'
const [program, ...list] = process.argv.slice(2)
const servers = {}
for (const server of list) {
  const [host, port, weight] = server.split(':')
  servers[`${host}:${port}`] = Number(weight)
}
const names = Object.keys(servers)
const ring = program === 'hashring'
  ? new (require('hashring'))(servers)
  : new (require('memcached'))(servers).HashRing
const keys = require('fs').readFileSync(0, 'utf8').split('\n').slice(0, -1)
for (const key of keys) console.log(names.indexOf(ring.get(key)))
