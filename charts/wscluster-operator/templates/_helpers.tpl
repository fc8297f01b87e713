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
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, patch]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch]
# Deleted when the spec no longer asks for them. Everything else goes by its owner reference.
- apiGroups: [""]
  resources: [serviceaccounts]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, watch, create, patch, delete]
# Why a gateway does not come up, and where it can be asked how many connections it holds.
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch]
# What happened, for `kubectl describe wscluster`.
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end -}}
