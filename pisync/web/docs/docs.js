"use strict";

// Whoever registers or logs in on this page is authorized at once, and stays so with a new password.
function authorize(response) {
  if (response.ok && /\/(register|login|password)$/.test(response.url)) {
    ui.preauthorizeApiKey("token", response.obj.token);
  }
  return response;
}

// Light and dark follow the system.
const dark = matchMedia("(prefers-color-scheme: dark)");
const setScheme = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", setScheme);
setScheme();

const ui = SwaggerUIBundle({
  url: new URL("openapi.json", document.baseURI).href,
  dom_id: "#docs",
  deepLinking: true,
  displayRequestDuration: true,
  tryItOutEnabled: true,
  defaultModelsExpandDepth: 0,
  validatorUrl: null, // it would be another host's
  responseInterceptor: authorize,
});
