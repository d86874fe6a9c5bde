// Swagger UI over this origin's own document, kept to this origin.

import { hindrance, signature, signedFields } from "./sign.js";

const hooks = ["/api/hook", "/api/mandrill/hook"];
const url = document.getElementById("signing-url");
const key = document.getElementById("signing-key");
const state = document.getElementById("signing-state");

url.value = new URL("/api/hook/", location.href).href;
say(hindrance());
url.form.addEventListener("submit", (event) => event.preventDefault());

/** Says why nothing is signed, or nothing. */
function say(trouble) {
  state.textContent = trouble ?? "";
  state.classList.toggle("wrong", Boolean(trouble));
}

/** Signs what is posted to the webhook, where a key is given. */
async function sign(request) {
  const path = new URL(request.url, location.href).pathname.replace(/\/$/, "");
  if (request.method !== "POST" || !hooks.includes(path) || key.value === "") return request;
  try {
    if (hindrance()) throw new Error(hindrance());
    const type = request.headers["Content-Type"] ?? "";
    const fields = signedFields(type, String(request.body ?? ""));
    request.headers["X-Mandrill-Signature"] = await signature(url.value, key.value, fields);
    say();
  } catch (error) {
    document.getElementById("signing").open = true;
    say(error.message);
    throw error;
  }
  return request;
}

/** Examples of optional parameters would be filled in and sent: they belong into the text. */
function asText(parameter) {
  if (!parameter.required && "example" in parameter) {
    const example = typeof parameter.example === "string" ? parameter.example : JSON.stringify(parameter.example);
    parameter.description = `${parameter.description ?? ""} For example \`${example}\`.`;
    delete parameter.example;
    // Of an object it would make up a member.
    if (parameter.schema?.type === "object") parameter.example = {};
  }
}

function prepared(document) {
  Object.values(document.components.parameters).forEach(asText);
  const operations = Object.values(document.paths).flatMap((path) => Object.values(path));
  operations.forEach((operation) => operation.parameters?.forEach(asText));
  return document;
}

/** What does not end cannot be shown by a page that waits for the end. */
const onlyWhatEnds = {
  statePlugins: {
    spec: {
      wrapSelectors: {
        allowTryItOutFor: (original, system) => (state, path, method) => {
          const operation = system.getSystem().specSelectors.specJson().getIn(["paths", path, method]);
          return !operation?.get("x-endless") && original(state, path, method);
        },
      },
    },
  },
};

const document_ = await fetch("/schema/openapi.json").then((answer) => {
  if (!answer.ok) throw new Error(`/schema/openapi.json answered ${answer.status}`);
  return answer.json();
});

window.SwaggerUIBundle({
  spec: prepared(document_),
  dom_id: "#swagger-ui",
  presets: [window.SwaggerUIBundle.presets.apis],
  plugins: [onlyWhatEnds],
  deepLinking: true,
  displayRequestDuration: true,
  defaultModelsExpandDepth: 0,
  persistAuthorization: false,
  queryConfigEnabled: false,
  validatorUrl: null,
  requestInterceptor: sign,
});
