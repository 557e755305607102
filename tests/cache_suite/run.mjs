// What the suite's own client does not do: say what tests there are, and run some of them alone.
//
//   node run.mjs SUITE                     every test: {id: {name, kind, depends_on}}
//   node run.mjs SUITE BASE_URL ID…        the results of these, as `cli.mjs` prints those of all

import { createRequire } from 'module'
import path from 'path'

const [suite, base, ...ids] = process.argv.slice(2)
const load = file => import(path.join(path.resolve(suite), file))

const suites = (await load('tests/index.mjs')).default
suites.push((await load('tests/surrogate-control.mjs')).default)

if (base === undefined) {
  const tests = {}
  for (const each of suites) {
    for (const test of each.tests) {
      if (test.browser_only) continue
      tests[test.id] = { name: test.name, kind: test.kind || 'required', depends_on: test.depends_on || [], group: each.name }
    }
  }
  console.log(JSON.stringify(tests))
} else {
  const fetch = createRequire(path.join(path.resolve(suite), 'cli.mjs'))('node-fetch')
  const runner = await load('client/runner.mjs')
  const chosen = suites.map(each => ({ ...each, tests: each.tests.filter(test => ids.includes(test.id)) }))
  await runner.runTests(chosen, fetch, false, base)
  console.log(JSON.stringify(runner.getResults()))
}
