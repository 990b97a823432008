// An OpenID provider: oauth2-mock-server, bound to 127.0.0.1.
//
//   node identity_provider.mjs PORT
//
// Discovery, keys, codes, PKCE, nonces and signatures are its own. This adapter says who signs in, and gives
// tests doors: POST /_test/next says how the next ID token is to be wrong (see `next` below), /_test/person who
// signs in, /_test/keys puts another key in the place of the one there was, /_test/forget begins anew; GET
// /_test/requests lists the token requests that were seen.
import { createServer } from 'node:http';
import { OAuth2Issuer, OAuth2Service } from 'oauth2-mock-server';

const port = Number(process.argv[2]);
const url = `http://127.0.0.1:${port}`;

let next = {}; // claims: set in the token, null removes; unsigned, tampered: true; status: of the token endpoint
let person = { sub: 'johndoe' }; // claims of whoever signs in
let requests = [];
let service;

const base64url = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');

function change(token) {
  if (!('aud' in token.payload)) return; // the access token
  for (const [name, value] of Object.entries({ ...person, ...next.claims })) {
    if (value === null) delete token.payload[name];
    else token.payload[name] = value;
  }
}

function respond(response, request) {
  requests.push({ body: request.body, authorization: request.headers.authorization ?? '' });
  const { unsigned, tampered, status, body } = next;
  next = {};
  if (status) response.statusCode = status;
  if (body !== undefined) response.body = body;
  if (!unsigned && !tampered) return;
  const [header, payload, signature] = response.body.id_token.split('.');
  const claims = JSON.parse(Buffer.from(payload, 'base64url'));
  if (unsigned) response.body.id_token = `${base64url({ alg: 'none', typ: 'JWT' })}.${payload}.`;
  else response.body.id_token = `${header}.${base64url({ ...claims, sub: 'root' })}.${signature}`;
}

async function provide(algorithm, slash) {
  const issuer = new OAuth2Issuer(slash);
  issuer.url = url;
  await issuer.keys.generate(algorithm);
  service = new OAuth2Service(issuer);
  service.on('beforeTokenSigning', change);
  service.on('beforeResponse', respond);
}

async function read(request) {
  const pieces = [];
  for await (const piece of request) pieces.push(piece);
  return JSON.parse(Buffer.concat(pieces).toString() || '{}');
}

async function door(request, response) {
  const asked = request.method === 'POST' ? await read(request) : {};
  if (request.url === '/_test/next') next = asked;
  else if (request.url === '/_test/person') person = asked;
  else if (request.url === '/_test/keys') await provide(asked.algorithm, asked.slash);
  else if (request.url === '/_test/forget') [next, person, requests] = [{}, { sub: 'johndoe' }, []];
  response.setHeader('content-type', 'application/json');
  response.end(JSON.stringify(request.url === '/_test/requests' ? requests : {}));
}

await provide('RS256');
createServer((request, response) => {
  if (request.url.startsWith('/_test/')) door(request, response);
  else service.requestHandler(request, response);
}).listen(port, '127.0.0.1', () => console.log('serving'));
