{{/* Short name of the application. */}}
{{- define "wscluster-operator.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* Name of every object of this release. */}}
{{- define "wscluster-operator.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "wscluster-operator.name" . -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Labels that select the operator's pods. */}}
{{- define "wscluster-operator.selector" -}}
app.kubernetes.io/name: {{ include "wscluster-operator.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* Labels of every object. */}}
{{- define "wscluster-operator.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "wscluster-operator.selector" . }}
app.kubernetes.io/component: operator
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "wscluster-operator.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "wscluster-operator.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "wscluster-operator.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{/* Name of everything that the metrics API consists of. */}}
{{- define "wscluster-operator.metricsApi" -}}
{{- printf "%s-metrics-api" (include "wscluster-operator.fullname" . | trunc 51 | trimSuffix "-") -}}
{{- end -}}

{{/* What the operator may do with WsClusters and with what they own. Each rule says what for. */}}
{{- define "wscluster-operator.rules" -}}
# The WsClusters themselves: read, and add or remove our finalizer.
- apiGroups: [wscluster.dev]
  resources: [wsclusters]
  verbs: [get, list, watch, patch]
- apiGroups: [wscluster.dev]
  resources: [wsclusters/status]
  verbs: [get, patch]
# Children block the deletion of their owner where the cluster enforces it (OwnerReferencesPermissionEnforcement).
- apiGroups: [wscluster.dev]
  resources: [wsclusters/finalizers]
  verbs: [update]
# What a WsCluster owns. Server-side apply needs create and patch. Secrets also hold the addresses of Redis.
- apiGroups: [""]
  resources: [services, configmaps, secrets]
  verbs: [get, list, watch, create, patch]
# The dashboard is a ConfigMap, and goes when the spec no longer asks for it.
- apiGroups: [""]
  resources: [configmaps]
  verbs: [delete]
# One Deployment for each revision; those that nobody can go back to are deleted.
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch]
# Deleted when the spec no longer asks for them. Everything else goes by its owner reference.
- apiGroups: [""]
  resources: [serviceaccounts]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies, ingresses]
  verbs: [get, list, watch, create, patch, delete]
# The extra way in by a Gateway, where the cluster has the Gateway API.
- apiGroups: [gateway.networking.k8s.io]
  resources: [httproutes]
  verbs: [get, list, watch, create, patch, delete]
# What writes the number of gateways: deleted when the spec asks for another, or for none.
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [keda.sh]
  resources: [scaledobjects]
  verbs: [get, list, watch, create, patch, delete]
# How Prometheus finds the gateways and what it warns of, where the cluster has the Prometheus operator's kinds.
- apiGroups: [monitoring.coreos.com]
  resources: [podmonitors, prometheusrules]
  verbs: [get, list, watch, create, patch, delete]
# Why a gateway does not come up, where it can be asked how many connections it holds, and the marks of a drain.
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch, patch]
{{- if not .Values.watchNamespace }}
# Whether a node on which a gateway ends is being emptied: then all gateways on it drain at once, and sessions move once.
- apiGroups: [""]
  resources: [nodes]
  verbs: [get]
{{- end }}
# What happened, for `kubectl describe wscluster`.
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end -}}
